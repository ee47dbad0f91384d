"""The certificates of a cluster that lives for hours: one authority, the API server's, and its own as a client.

And that of a web site, with an authority of its own.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = dt.timedelta(days=30)


def write_certificates(folder: Path, names: Sequence[str], addresses: Sequence[str]) -> None:
    """Write `ca`, `apiserver` (for the names and addresses), `apiserver-client` and the key pair `accounts`.

    Certificates end in `.crt`, private keys in `.key`. `accounts` signs the tokens of service accounts.
    """
    ca_key = _key(folder / "ca.key")
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "aihub-test-ca")])
    ca = _builder(ca_name, ca_name, ca_key).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    _write(folder / "ca.crt", ca.sign(ca_key, hashes.SHA256()))

    server_key = _key(folder / "apiserver.key")
    alternatives = [*map(x509.DNSName, names), *(x509.IPAddress(ipaddress.ip_address(a)) for a in addresses)]
    server = (
        _builder(_subject("kube-apiserver"), ca_name, server_key)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    _write(folder / "apiserver.crt", server.sign(ca_key, hashes.SHA256()))

    client_key = _key(folder / "apiserver-client.key")
    # The kubelet lets this group do everything.
    client = _builder(_subject("kube-apiserver-client", "system:masters"), ca_name, client_key).add_extension(
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
    )
    _write(folder / "apiserver-client.crt", client.sign(ca_key, hashes.SHA256()))

    accounts = _key(folder / "accounts.key").public_key()
    (folder / "accounts.pub").write_bytes(
        accounts.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def write_web_certificate(folder: Path, names: Sequence[str]) -> None:
    """Write `web.crt` with `web.key` for the host names, and `web-ca.crt`, which browsers are to trust."""
    ca_key, ca_name = ec.generate_private_key(ec.SECP256R1()), _subject("aihub-test-web-ca")
    signs = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    ca = (
        _builder(ca_name, ca_name, ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(signs, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
    )
    _write(folder / "web-ca.crt", ca.sign(ca_key, hashes.SHA256()))
    site = (
        _builder(_subject(names[0]), ca_name, _key(folder / "web.key"))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    _write(folder / "web.crt", site.sign(ca_key, hashes.SHA256()))


def _subject(name: str, group: str | None = None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    if group is not None:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
    return x509.Name(attributes)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
    )


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return key


def _write(path: Path, certificate: x509.Certificate) -> None:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
