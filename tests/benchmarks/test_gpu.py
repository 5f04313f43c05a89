"""The benchmark of GPUs, in small and on the device that there is."""

import json

import pytest

from benchmarks import gpu


def test_the_share_of_a_device_counts_what_overlaps_once() -> None:
    def named(kind, pid, tid, name):
        return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": {"name": name}}

    def kernel(name, pid, tid, start, length):
        return {"ph": "X", "name": name, "pid": pid, "tid": tid, "ts": start, "dur": length}

    events = [
        named("process_name", 1, 0, "/device:GPU:0"),
        named("process_name", 2, 0, "/host:CPU"),
        named("thread_name", 1, 7, "Stream #7(Compute)"),
        named("thread_name", 1, 8, "Stream #8(MemcpyD2D)"),
        named("thread_name", 1, 9, "XLA Ops"),
        named("thread_name", 2, 7, "Stream of another kind"),
        kernel("gemm_1", 1, 7, 0.0, 100.0),
        kernel("gemm_2", 1, 8, 50.0, 100.0),
        kernel("copy", 1, 7, 300.0, 50.0),
        kernel("gemm_1", 1, 9, 0.0, 1000.0),
        kernel("python", 2, 7, 0.0, 1000.0),
    ]
    found = gpu.of_device(events, seconds=400e-6, meta_steps=2)
    assert found["busy"] == pytest.approx(0.5)
    assert found["kernels_per_meta_step"] == 1.5
    assert found["milliseconds_by_kernel"] == pytest.approx({"gemm": 0.1, "copy": 0.025})
    assert gpu.of_device(events[5:], 1.0, 1) == {}


@pytest.mark.slow
def test_in_small(tmp_path, monkeypatch, capsys) -> None:
    parts = (gpu.Part("sine-4-1", again=2), gpu.Part("sine-4-1", runs=3, precision="tf32", deterministic=True))
    monkeypatch.setattr(gpu, "PARTS", parts)
    gpu.main(["--tiny", "--out", str(tmp_path / "gpu.json")])
    first, second = json.loads((tmp_path / "gpu.json").read_text("utf-8"))["parts"]
    assert first["gradient_error"] < 1e-3
    assert first["same_bits"]
    assert (second["runs"], second["machine"]["backend"], second["gradient_error"]) == (3, "cpu", None)
    assert all(entry["milliseconds"] > 0 for entry in (first, second))
    assert "two processes agree" in capsys.readouterr().out
