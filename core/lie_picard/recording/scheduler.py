"""Where a Dask scheduler is, and with which certificates it is talked to."""

from __future__ import annotations

import argparse
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Security

_ENCRYPTED = "tls", "wss"
_FILES = {
    "ca": "certificate of the authority that signed those of scheduler and workers",
    "cert": "certificate of this client, signed by that authority",
    "key": "private key of that certificate, without a passphrase",
}


class SchedulerError(ValueError):
    """Settings that do not fit together, or files that are none; the message says which, in one line."""


@dataclass(frozen=True)
class Scheduler:
    """A Dask scheduler that is running already.

    Attributes:
        address: such as tls://host:8786 or tcp://host:8786.
        ca, cert, key: PEM files, with TLS all three: of the authority that signed the cluster's certificates, and this
            client's own. Without TLS none.
    """

    address: str
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        files = {name: getattr(self, name) for name in _FILES}
        missing = [f"--tls-{name}" for name, file in files.items() if file is None]
        if self.address.partition("://")[0] not in _ENCRYPTED:
            if len(missing) < len(files):
                raise SchedulerError(
                    f"--scheduler {self.address} is without TLS: with certificates give tls://HOST:PORT"
                )
            return
        if missing:
            raise SchedulerError(f"--scheduler {self.address} needs certificates: give {', '.join(missing)} too")
        for name, file in files.items():
            try:
                file.read_bytes()
            except OSError as error:
                raise SchedulerError(f"--tls-{name} {file}: {error.strerror}") from None
        self._check()

    def _check(self) -> None:
        """Whether the files are what they should be: Dask tells it late, and in many lines."""
        try:
            context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(self.ca))
        except ssl.SSLError:
            raise SchedulerError(f"--tls-ca {self.ca} holds no certificate in PEM format") from None
        try:
            context.load_cert_chain(str(self.cert), str(self.key), password=_no_passphrase)
        except ssl.SSLError as error:
            why = "they do not belong together" if error.reason == "KEY_VALUES_MISMATCH" else "not in PEM format"
            raise SchedulerError(f"--tls-cert {self.cert}, --tls-key {self.key}: {why}") from None

    def security(self) -> Security | None:
        """For Dask; None without TLS."""
        if self.ca is None:
            return None
        from distributed import Security

        return Security(
            tls_ca_file=str(self.ca), tls_client_cert=str(self.cert), tls_client_key=str(self.key),
            require_encryption=True,
        )  # fmt: skip


def _no_passphrase() -> str:
    """OpenSSL, and so Dask, would ask for it on the terminal, on which nobody may sit."""
    raise SchedulerError("--tls-key: the key is encrypted, and Dask needs one without a passphrase")


def add_arguments(p: argparse.ArgumentParser) -> None:
    """The options that say where the scheduler is."""
    p.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster that has the recordings in reach, such as "
                   "tls://host:8786. Whoever reaches its scheduler or workers can run code there and here, so it must "
                   "be on a trusted network; with tls:// those alone who have a certificate")  # fmt: skip
    for name, what in _FILES.items():
        p.add_argument(f"--tls-{name}", type=Path, metavar="FILE", help=f"for a scheduler at tls://: {what} (PEM)")


def of_arguments(args: argparse.Namespace) -> Scheduler | None:
    """What the options say; None without a scheduler.

    Raises:
        SchedulerError: they do not fit together.
    """
    files = {name: getattr(args, f"tls_{name}") for name in _FILES}
    if args.scheduler is None:
        if given := next((name for name, file in files.items() if file is not None), None):
            raise SchedulerError(f"--tls-{given} is for a scheduler: give --scheduler tls://HOST:PORT too")
        return None
    return Scheduler(args.scheduler, **files)
