import pytest

from aiops.kit.reach import is_metadata_address


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.0.1",
        "fe80::1",
        "fe80::1%eth0",
        "[fe80::1]",
        "::ffff:169.254.169.254",
        "2002:a9fe:a9fe::1",
        "fd00:ec2::254",
        "100.100.100.200",
        "168.63.129.16",
    ],
)
def test_refused(host: str) -> None:
    assert is_metadata_address(host)


@pytest.mark.parametrize("host", ["10.0.0.1", "127.0.0.1", "::1", "fd00::1", "169.255.0.1", "metadata", "", "fe80"])
def test_allowed(host: str) -> None:
    assert not is_metadata_address(host)
