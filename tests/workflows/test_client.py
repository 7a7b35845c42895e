"""The connection to Temporal: TLS, our certificate and the server's, before the first call."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from runtime.settings import Settings
from workflows.client import connect

NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "holdfast test")])


class Certificates:
    """An authority, and certificates that it has signed: `NAME.crt` and `NAME.key` in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.ca = self._write("ca", self._key, x509.BasicConstraints(ca=True, path_length=None))

    def sign(self, name: str) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        return self._write(name, key, x509.BasicConstraints(ca=False, path_length=None)), self._folder / f"{name}.key"

    def _write(self, name: str, key: ec.EllipticCurvePrivateKey, constraints: x509.BasicConstraints) -> Path:
        now = datetime.now(UTC)
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        subject = NAME if constraints.ca else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(NAME)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(constraints, critical=True)
            .add_extension(names, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        (self._folder / f"{name}.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        file = self._folder / f"{name}.crt"
        file.write_bytes(certificate.public_bytes(Encoding.PEM))
        return file


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("strangers"))


@pytest.fixture
def ask(temporal: Settings, certificates: Certificates) -> Callable[..., None]:
    """Asks the server through a door that speaks TLS, and asks callers for a certificate; RuntimeError if shut out."""

    def run(**changed: object) -> None:
        asyncio.run(_ask(temporal, certificates, changed))

    return run


async def _ask(temporal: Settings, certificates: Certificates, changed: dict[str, object]) -> None:
    certificate, key = certificates.sign("client")
    async with _door(temporal.temporal_port, certificates) as port:
        given = {
            "temporal_address": f"127.0.0.1:{port}",
            "temporal_tls": True,
            "temporal_tls_ca": certificates.ca,
            "temporal_tls_cert": certificate,
            "temporal_tls_key": key,
        }
        settings = temporal.model_copy(update={**given, **changed})
        client = await connect(settings, patience=timedelta(seconds=5))
        assert (await client.service_client.check_health()) is True


@asynccontextmanager
async def _door(port: int, certificates: Certificates) -> AsyncIterator[int]:
    """Takes TLS off and passes on what is in it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificates.sign("server"))
    context.load_verify_locations(certificates.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])

    open_ends: list[asyncio.StreamWriter] = []
    passing: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        open_ends.extend((writer, inner_writer))
        passing.append(asyncio.create_task(_pass(reader, inner_writer)))
        passing.append(asyncio.create_task(_pass(inner_reader, writer)))

    async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, ssl.SSLError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in passing:
            task.cancel()
        await asyncio.gather(*passing, return_exceptions=True)
        for end in open_ends:
            end.transport.abort()
            with suppress(ConnectionError, ssl.SSLError):
                await end.wait_closed()


def test_with_both_certificates_it_answers(ask: Callable[..., None]) -> None:
    ask()


def test_in_clear_nothing_is_said(ask: Callable[..., None]) -> None:
    with pytest.raises(RuntimeError):
        ask(temporal_tls=False)


def test_a_server_of_another_authority_is_refused(ask: Callable[..., None], strangers: Certificates) -> None:
    with pytest.raises(RuntimeError):
        ask(temporal_tls_ca=strangers.ca)


def test_a_server_of_another_name_is_refused(ask: Callable[..., None]) -> None:
    with pytest.raises(RuntimeError):
        ask(temporal_tls_name="temporal.example")


def test_without_our_certificate_the_server_refuses_us(ask: Callable[..., None]) -> None:
    with pytest.raises(RuntimeError):
        ask(temporal_tls_cert=None, temporal_tls_key=None)
