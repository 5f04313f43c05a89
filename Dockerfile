# The server of `mtnets serve` on CPUs, with a token:
#
#     docker build -t mtnets .
#     docker run --rm -p 127.0.0.1:8000:8000 -e MTNETS_TOKEN="$(openssl rand -hex 32)" mtnets serve sine-10shot --host 0.0.0.0
FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN python -m venv /opt/mtnets && /opt/mtnets/bin/pip install --no-cache-dir '.[serve,table]'

FROM python:3.13-slim
RUN useradd --create-home --uid 1000 mtnets
COPY --from=build /opt/mtnets /opt/mtnets
ENV PATH=/opt/mtnets/bin:$PATH PYTHONUNBUFFERED=1
USER mtnets
WORKDIR /home/mtnets
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen(r.Request('http://127.0.0.1:8000/healthz', headers={'Host': 'localhost'}), timeout=4)"]
ENTRYPOINT ["mtnets"]
CMD ["serve", "--host", "0.0.0.0"]
