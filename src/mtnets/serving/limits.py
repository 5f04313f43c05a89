"""What one client, or all of them together, may ask of the server."""

import dataclasses
from typing import Annotated

from mtnets.arguments import Such, check_fields

Count = Annotated[int, Such(lambda count: 1 <= count < 2**31, "a whole number of at least 1")]
Amount = Annotated[float, Such(lambda amount: 0 < amount < 1e9, "a number above 0")]


@dataclasses.dataclass(frozen=True)
class Limits:
    """What may be asked of the server.

    Attributes:
      body_mb: megabytes (10⁶ bytes) of a request.
      pixels: of an image, before it is resized; a small file can be made to unpack to any number.
      examples: of a task, and inputs of one prediction.
      classes: of a task.
      inner_steps: gradient steps of one adaptation.
      tasks: that are kept; another one takes the place of that which was not used for longest.
      task_minutes: for which a task is kept after its last use.
      waiting: requests that wait or run; one more is answered with 503.
      connections: that are open at a time.
      together: tasks of one compiled call.
      window_ms: milliseconds for which the first request of a call waits for others.

    Raises:
      OptionError: for a number that is not above 0.
    """

    body_mb: Amount = 8.0
    pixels: Count = 1 << 22
    examples: Count = 256
    classes: Count = 64
    inner_steps: Count = 100
    tasks: Count = 1000
    task_minutes: Amount = 60.0
    waiting: Count = 256
    connections: Count = 512
    together: Count = 16
    window_ms: Amount = 2.0

    def __post_init__(self) -> None:
        check_fields(self)
