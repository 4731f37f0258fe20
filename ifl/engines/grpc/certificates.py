"""Makes a throw-away authority and certificates of it, and reads those of a party.

A folder for each: ``ca.crt``, whom it believes; ``own.crt`` and ``own.key``, who it is. The common
name is the name of the party, or ``server``; that of the server may serve, the others may call.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from ifl.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate

SERVER = "server"
CA, OWN, KEY = "ca.crt", "own.crt", "own.key"
AUTHORITY = "authority"  # the folder of the authority's own certificate and key
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
RULE = "a party's name must be of a to z, 0 to 9 and - within, 63 letters at most"


@dataclass(frozen=True)
class Certificates:
    """Certificates of a party, or of the server, as PEM.

    Args:
        ca: of the authority.
        own, key: the own certificate and its private key.
    """

    ca: bytes
    own: bytes
    key: bytes
    folder: Path


def read_certificates(folder: Path | str, name: str) -> Certificates:
    """Return the certificates that lie in a folder.

    Args:
        name: that the own one has to be for.

    Raises:
        ConfigError: a file is missing, is no certificate, or is for another name.
    """
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    folder = Path(folder).expanduser()
    found = []
    for file in (CA, OWN, KEY):
        try:
            found.append((folder / file).read_bytes())
        except OSError as error:
            raise ConfigError(
                f"certificates: {folder / file} cannot be read ({error.strerror}); ifl "
                f"certificates OUT --names {SERVER} {name} ... makes some to try with"
            ) from error
    try:
        certificate = x509.load_pem_x509_certificate(found[1])
        x509.load_pem_x509_certificate(found[0])
    except ValueError as error:
        raise ConfigError(
            f"certificates: {folder} holds no certificate in PEM ({error})"
        ) from error
    found_names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    whose = found_names[0].value if found_names else "nobody"
    if whose != name:
        raise ConfigError(
            f"certificates: {folder / OWN} is for {whose!r}, and this is {name!r}; name the folder "
            f"of {name}"
        )
    ca, own, key = found
    return Certificates(ca, own, key, folder)


def check_name(name: str) -> str:
    """Return the name of a party; raise ConfigError if it can be none."""
    if not isinstance(name, str) or not NAME.fullmatch(name) or name == AUTHORITY:
        raise ConfigError(f"{RULE}, and not {AUTHORITY}, got {name}")
    return name


class Authority:
    """A throw-away authority: who has its key can let in anybody.

    Args:
        folder: holds a folder for each name, and one of its own; goes on from what lies there.
        days: that what it signs is valid.

    Raises:
        OutputError: the folder cannot be written.
    """

    def __init__(self, folder: Path, days: int = 30) -> None:
        self.folder, self.days = folder, days
        own = folder / AUTHORITY
        if (own / KEY).exists():
            self._key, self._certificate = _read(own)
            return
        self._key = _key()
        self._certificate = self._signed(AUTHORITY, self._key, None)
        _write(own, {OWN: _pem(self._certificate), KEY: _pem(self._key)})

    def issue(self, names: Iterable[str]) -> None:
        """Write certificates for names; those that are there already stay.

        Raises:
            ConfigError: a name can be none.
            OutputError: the folder cannot be written.
        """
        for name in names:
            folder = self.folder / check_name(name)
            if (folder / OWN).exists():
                continue
            key = _key()
            own = _pem(self._signed(name, key, self._certificate))
            _write(folder, {CA: _pem(self._certificate), OWN: own, KEY: _pem(key)})

    def _signed(
        self, name: str, key: "EllipticCurvePrivateKey", by: "Certificate | None"
    ) -> "Certificate":
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.x509.oid import ExtendedKeyUsageOID as usage  # noqa: N813
        from cryptography.x509.oid import NameOID

        common = NameOID.COMMON_NAME
        now = datetime.now(timezone.utc)
        may = usage.SERVER_AUTH if name == SERVER else usage.CLIENT_AUTH
        subject = x509.Name([x509.NameAttribute(common, name if by else f"ifl {name}")])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(by.subject if by else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=self.days))
            .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
        )
        if by is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([may]), critical=False)
            alternative = x509.SubjectAlternativeName([x509.DNSName(name)])
            builder = builder.add_extension(alternative, critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _key() -> "EllipticCurvePrivateKey":
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _pem(thing: "Certificate | EllipticCurvePrivateKey") -> bytes:
    from cryptography.hazmat.primitives import serialization
    from cryptography.x509 import Certificate

    if isinstance(thing, Certificate):
        return thing.public_bytes(serialization.Encoding.PEM)
    return thing.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _read(folder: Path) -> "tuple[EllipticCurvePrivateKey, Certificate]":
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    try:
        key = serialization.load_pem_private_key((folder / KEY).read_bytes(), None)
        certificate = x509.load_pem_x509_certificate((folder / OWN).read_bytes())
        if not isinstance(key, EllipticCurvePrivateKey):
            raise ValueError("the key is of another kind")
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{folder} holds no authority of ifl certificates ({error})") from error
    return key, certificate


def _write(folder: Path, files: dict[str, bytes]) -> None:
    """Write files, keys for the own eyes alone."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            mode = 0o600 if name == KEY else 0o644
            with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT, mode), "wb") as file:
                file.write(content)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written ({error.strerror}); name another") from error
