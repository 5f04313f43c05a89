"""Where the server listens, and who may use it."""

import dataclasses
import os
from pathlib import Path

from mtnets.arguments import check_fields
from mtnets.errors import OptionError
from mtnets.files import read

TOKEN = "MTNETS_TOKEN"  # the variable of the environment
SHORTEST_TOKEN = 16  # characters; a shorter one could be guessed
MOST_TOKEN_BYTES = 4096
LARGEST_PORT = 2**16 - 1
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclasses.dataclass(frozen=True)
class Access:
    """Where the server listens, and who may use it.

    Attributes:
      host: address to listen at; one that other machines reach needs a token.
      port: to listen at; 0 for any that is free.
      token_file: file with the token that requests must bring. Defaults to the variable MTNETS_TOKEN, or to none.
      public: anyone who reaches it may use it without a token; then nobody sees a list of tasks.
      allow_host: names by which the server is reached, beside those of this machine. With a token or in public all
        are allowed unless some are named.
      allow_frame: sites that may show the page within theirs, such as https://huggingface.co.

    Raises:
      OptionError: for a port that is none.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token_file: str = ""
    public: bool = False
    allow_host: tuple[str, ...] = ()
    allow_frame: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 <= self.port <= LARGEST_PORT:
            raise OptionError(f"port is {self.port}; it must be from 0 to {LARGEST_PORT}.")
        for site in self.allow_frame:
            if not site.startswith("https://") or not site.isprintable() or set(site) & set(" ;,'\""):
                raise OptionError(f"allow_frame is {site!r}; name a site such as https://huggingface.co.")

    @property
    def token(self) -> str | None:
        """The token, if there is one.

        Raises:
          OptionError: for a file that cannot be read, or a token that is short or not plain text; and where there must
            be one and is none.
        """
        token = os.environ.get(TOKEN) or None
        if self.token_file:
            try:
                token = read(Path(self.token_file), MOST_TOKEN_BYTES).decode("ascii").strip()
            except (OSError, ValueError) as error:
                raise OptionError(f"token_file is {self.token_file}, which cannot be read ({error}).") from error
        if token is not None and (len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable()):
            raise OptionError(
                f"The token has {len(token)} characters; it must be {SHORTEST_TOKEN} or more of plain text, such as "
                "those of: openssl rand -hex 32."
            )
        if token is None and self.host not in LOOPBACK and not self.public:
            raise OptionError(
                f"host is {self.host!r}, which other machines reach; set a token, token_file=... or {TOKEN}, or let "
                "anyone use it: public=True."
            )
        if token is not None and self.public:
            raise OptionError("public is True and there is a token; leave out one of the two.")
        return token

    def hosts(self, token: str | None) -> tuple[str, ...] | None:
        """The names that the Host header may have; None for any."""
        if self.allow_host:
            return (*self.allow_host, *LOOPBACK)
        return LOOPBACK if token is None and not self.public else None
