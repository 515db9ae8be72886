"""Which addresses may be handed to a model server, in every spelling that some program reads."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from tenants.addresses import RefusedAddress, check_web_address, is_global_address

ACCEPTED = """\
https://example.com/a.png
http://example.com
HTTPS://EXAMPLE.COM/A.png?x=1#y
https://example.com.
https://example.com:443/a.png
http://example.com:80/
https://example.com:80/a.png
https://a-b.c_d.example.co.uk/a%20b.png
https://8.8.8.8/a.png
https://93.184.216.34
https://[2606:4700:4700::1111]/a.png
https://[2606:4700:4700::1111]:443/a.png
https://[::ffff:8.8.8.8]/a.png
https://[64:ff9b::808:808]/a.png
https://[2002:808:808::1]/a.png
https://bücher.example/a.png
https://xn--bcher-kva.example/a.png
https://日本語。example/a.png
https://mylocal.example/
https://localhost.example/
https://internal-images.example/
https://example.com/?next=http://127.0.0.1/
https://example.com/#@127.0.0.1
""".splitlines()

# Forms that lead a model server into its own network, or that programs read differently.
REFUSED = """\
http://127.0.0.1/a.png
http://127.0.0.1:80/a.png
http://127.8.8.8
http://localhost/a.png
http://LOCALHOST
http://localhost.
http://a.localhost
http://localhost.localdomain
http://[::1]/a.png
http://[::]
http://[0:0:0:0:0:0:0:1]
http://0/a.png
http://0.0.0.0
http://2130706433/a.png
http://0x7f000001
http://0x7F.0x0.0x0.0x1
http://017700000001
http://0177.0.0.1
http://0177.0.0.01
http://127.1
http://127.0.1
http://127.0.0.1.
http://127.0.0.1..
http://00127.0.0.1
http://010.0.0.1
http://8.8.8
http://134744072
http://1.2.3.4.5
http://256.1.1.1
http://example.0x7f
http://example.1
http://[::ffff:127.0.0.1]/a.png
http://[::ffff:7f00:1]
http://[0:0:0:0:0:ffff:169.254.169.254]
http://[::127.0.0.1]
http://[64:ff9b::7f00:1]
http://[64:ff9b::169.254.169.254]
http://[64:ff9b:1::1]
http://168.63.129.16/machine
http://[::ffff:168.63.129.16]
http://[2002:7f00:1::]
http://[2002:a9fe:a9fe::1]
http://[2001:0:808:808::1]
http://[2606:4700::5efe:10.0.0.1]
http://[fe80::1]
http://[fe80::1%25eth0]
http://[fec0::1]
http://[fd00:ec2::254]/latest/meta-data/
http://[fc00::1]
http://[ff02::1]
http://[2001:db8::1]
http://[3fff::1]
http://[100::1]
http://[::1
http://::1
http://[127.0.0.1]
http://[]
http://169.254.169.254/latest/meta-data/
http://169.254.1.1
http://10.0.0.1
http://172.16.0.1
http://172.31.255.255
http://192.168.1.1
http://100.64.0.1
http://100.100.100.200
http://192.0.0.192
http://192.0.2.1
http://198.18.0.1
http://198.51.100.1
http://203.0.113.1
http://192.88.99.1
http://224.0.0.1
http://240.0.0.1
http://255.255.255.255
http://metadata.google.internal/computeMetadata/v1/
http://metadata.google.internal.
http://METADATA.GOOGLE.INTERNAL
http://metadata/
http://redis
http://postgres./
http://printer.local
http://router.lan
http://fritz.box.home
http://wiki.corp
http://nas.home.arpa
http://box.intranet
http://user@127.0.0.1/
http://user:password@example.com/
http://example.com@127.0.0.1/
http://127.0.0.1@example.com/
http://@example.com
http://:@example.com
http://example.com:22
http://example.com:6379/
http://example.com:0
http://example.com:8080
http://example.com:65536
http://example.com:080
http://example.com:
http://example.com:80:80
http://example.com:+80
http://example.com:\uff18\uff10
http://example.com\\@127.0.0.1/
http://127.0.0.1\\.example.com
http:\\\\127.0.0.1
http:/\\127.0.0.1
http://%31%32%37.0.0.1/
http://127.0.0%2e1
http://localhos%74
http://\uff11\uff12\uff17.\uff10.\uff10.\uff11/
http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460
http://127。0。0。1
http://127\uff0e0\uff0e0\uff0e1
http://127\uff610\uff610\uff611
http://\uff4c\uff4f\uff43\uff41\uff4c\uff48\uff4f\uff53\uff54
http://local\u00adhost
http://127.0.0.\u200b1
http://127.\u20600.0.1
http://\u24dbocalhost
http://metadata.google.\uff49nternal
http://[::\uff11]
http://.example.com
http://example..com
http://-example.com
http://example.com-
http://exam!ple.com
http://exam,ple.com
http:///127.0.0.1
http:127.0.0.1
http://
http://?a
//example.com/a.png
example.com/a.png
ftp://example.com/a.png
file:///etc/passwd
gopher://127.0.0.1:6379/_
data:image/png;base64,AA
javascript:alert(1)
file:file-abc
""".splitlines()

UNCLEAR = [
    " http://example.com",
    "http://example.com ",
    "http://exam ple.com",
    "http://127.0.0.1\t/",
    "http://127.0.0.1\t",
    "ht\ntp://example.com",
    "http://example.com/a\r\nHost: x",
    "http://example.com/\x00",
    "http://example.com/\x7f",
    "http://example.com/\x85",
    "http://example.com/\u00a0",
    "http://example.com/\u2028",
    "http://\u3000example.com",
    "\x01http://127.0.0.1",
    "http://example.com\\.127.0.0.1",
    "http://example.com/\\",
    "http://example.com/\ud800",
    "",
]


@pytest.mark.parametrize("url", ACCEPTED)
def test_addresses_of_the_web_are_accepted(url: str) -> None:
    check_web_address(url)


@pytest.mark.parametrize("url", [*REFUSED, *UNCLEAR], ids=ascii)
def test_every_other_address_is_refused(url: str) -> None:
    with pytest.raises(RefusedAddress) as refused:
        check_web_address(url)
    assert str(refused.value).endswith(".")


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://images.internal/a.png", True),
        ("http://IMAGES.internal./a.png", True),
        ("https://images.internal:443/a.png", True),
        ("http://images.internal:8080/a.png", False),
        ("http://cdn.internal:8080/a.png", True),
        ("http://cdn.internal/a.png", False),
        ("http://other.internal/a.png", False),
        ("http://a.images.internal/a.png", False),
        ("http://10.0.0.7/a.png", True),
        ("http://10.0.0.8/a.png", False),
        ("http://[fd00::7]/a.png", True),
        ("http://[fd00:0::0:7]/a.png", True),
        ("http://user@images.internal/a.png", False),
        ("http://images.internal\\@10.0.0.8/", False),
        ("ftp://images.internal/a.png", False),
        ("https://example.com/a.png", True),
    ],
)
def test_hosts_can_be_allowed(url: str, allowed: bool) -> None:
    hosts = ["Images.internal", "cdn.internal:8080", "10.0.0.7", "[fd00::7]"]
    if allowed:
        check_web_address(url, allowed_hosts=hosts)
    else:
        with pytest.raises(RefusedAddress):
            check_web_address(url, allowed_hosts=hosts)


@pytest.mark.parametrize(
    ("address", "is_global"),
    [
        *(("8.8.8.8", True), ("2606:4700::1", True), ("::ffff:8.8.8.8", True)),
        *(("127.0.0.1", False), ("::ffff:10.0.0.1", False), ("2002:c0a8:101::", False)),
        *(("64:ff9b::a00:1", False), ("fe80::1", False), ("::", False), ("100.64.0.1", False)),
    ],
)
def test_an_address_that_a_name_led_to_is_judged(address: str, is_global: bool) -> None:
    assert is_global_address(address) is is_global
    assert is_global_address(ip_address(address)) is is_global
