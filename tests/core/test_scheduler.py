"""The Dask path: TLS with certificates on both sides or one line that says what is missing."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from bags import parameters, write

from lie_picard import cli
from lie_picard.recording import cluster
from lie_picard.recording.scheduler import Scheduler, SchedulerError

openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed: apt install openssl")
ADDRESS = "tls://127.0.0.1:8786"


def signed(folder, name, authority=None):
    """A certificate with its key; signed by another one, or by itself."""
    key, cert = folder / f"{name}.key", folder / f"{name}.pem"
    by = [] if authority is None else ["-CA", authority[0], "-CAkey", authority[1]]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", f"/CN={name}", "-keyout", key, "-out", cert, *by],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Of an authority, a cluster and a client, and of a stranger."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = signed(folder, "authority")
    by_authority = {name: signed(folder, name, authority) for name in ("cluster", "client")}
    return {"ca": authority, "stranger": signed(folder, "stranger"), **by_authority}


@pytest.fixture(scope="module")
def tls_cluster(certificates):
    """A scheduler and a worker that talk to those alone whom the authority knows."""
    from distributed import LocalCluster, Security

    ca, (cert, key) = certificates["ca"][0], certificates["cluster"]
    roles = {f"tls_{role}_{kind}": str(file) for role in ("scheduler", "worker", "client")
             for kind, file in (("cert", cert), ("key", key))}  # fmt: skip
    security = Security(tls_ca_file=str(ca), require_encryption=True, **roles)
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, protocol="tls://",
                      security=security, host="127.0.0.1") as running:  # fmt: skip
        yield running


def options(certificates, of="client"):
    cert, key = certificates[of]
    return ["--tls-ca", certificates["ca"][0], "--tls-cert", cert, "--tls-key", key]


@openssl
def test_a_recording_is_scored_by_a_cluster_with_tls(tls_cluster, certificates, tmp_path):
    bag, params = write(tmp_path / "bag", frames=2), parameters(tmp_path, samples=4)
    assert tls_cluster.scheduler_address.startswith("tls://")
    words = [bag, "--params", params, "--no-annotate"]
    there = [
        *words,
        "--output",
        tmp_path / "there",
        "--scheduler",
        tls_cluster.scheduler_address,
        *options(certificates),
    ]
    assert cli.main(["evaluate-bag", *map(str, there)]) == 0
    assert cli.main(["evaluate-bag", *map(str, [*words, "--output", tmp_path / "here"])]) == 0
    first, second = (json.loads((tmp_path / place / "report.json").read_text()) for place in ("there", "here"))
    assert first["processes"] == tls_cluster.scheduler_address
    assert [r["mean_deg"] for r in first["frames"]] == pytest.approx(
        [r["mean_deg"] for r in second["frames"]], abs=1e-3
    )


@openssl
@pytest.mark.parametrize("stranger", ["client", "authority"])
def test_a_strangers_certificate_ends_in_one_line(tls_cluster, certificates, stranger, monkeypatch):
    monkeypatch.setattr(cluster, "_CONNECT_S", 1)
    client = certificates["stranger" if stranger == "client" else "client"]
    authority = certificates["stranger" if stranger == "authority" else "ca"][0]
    scheduler = Scheduler(tls_cluster.scheduler_address, authority, *client)
    with pytest.raises(cluster.ClusterError) as told:
        list(cluster.run(str, [1], 1, scheduler))
    assert f"no Dask scheduler at '{scheduler.address}'" in str(told.value) and "\n" not in str(told.value)


def refused(*arguments, **changes):
    """The line in which these are refused."""
    with pytest.raises(SchedulerError) as told:
        Scheduler(*arguments, **changes)
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.mark.parametrize("address", [ADDRESS, "wss://host:1"])
def test_tls_without_certificates_is_refused(address):
    assert refused(address) == f"--scheduler {address} needs certificates: give --tls-ca, --tls-cert, --tls-key too"
    assert refused(address, Path("ca"), None, Path("key")).endswith("give --tls-cert too")


@pytest.mark.parametrize("address", ["tcp://host:8786", "host:8786", "ws://host:1", ""])
def test_certificates_without_tls_are_refused_as_nothing_would_be_encrypted(address):
    assert "is without TLS" in refused(address, ca=Path("ca"))
    assert Scheduler(address).security() is None


def test_certificates_without_a_scheduler_are_refused(tmp_path, capsys):
    words = ["evaluate-bag", "bag", "--params", parameters(tmp_path), "--output", tmp_path / "out", "--tls-key", "x"]
    assert cli.main([*map(str, words)]) == 2
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .endswith("--tls-key is for a scheduler: give --scheduler tls://HOST:PORT too")
    )
    assert not (tmp_path / "out").exists()


@openssl
def test_files_that_are_none_are_named(certificates, tmp_path):
    ca, (cert, key) = certificates["ca"][0], certificates["client"]
    rubbish, locked = tmp_path / "rubbish", tmp_path / "locked"
    rubbish.write_bytes(os.urandom(99))
    subprocess.run(["openssl", "ec", "-in", key, "-aes256", "-passout", "pass:word", "-out", locked], check=True,
                   capture_output=True)  # fmt: skip
    assert refused(ADDRESS, tmp_path / "none", cert, key) == f"--tls-ca {tmp_path / 'none'}: No such file or directory"
    assert refused(ADDRESS, ca, tmp_path, key) == f"--tls-cert {tmp_path}: Is a directory"
    assert f"--tls-ca {rubbish} holds no certificate" in refused(ADDRESS, rubbish, cert, key)
    assert "not in PEM format" in refused(ADDRESS, ca, rubbish, key)
    assert "not in PEM format" in refused(ADDRESS, ca, cert, rubbish)
    assert "do not belong together" in refused(ADDRESS, ca, cert, certificates["stranger"][1])
    assert "without a passphrase" in refused(ADDRESS, ca, cert, locked)


def test_the_help_says_whom_a_scheduler_must_trust(capsys):
    with pytest.raises(SystemExit):
        cli.main(["evaluate-bag", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "it must be on a trusted network" in text and "--tls-ca FILE" in text
