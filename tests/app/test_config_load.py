"""Layers of the configuration: what wins, what is told, what is never told."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, SecretStr, field_validator

from aiops.app.config import Config
from aiops.app.config_load import ConfigError, Loaded, Override, Sources, load
from aiops.app.config_print import to_yaml
from aiops.kit.secrets import redact
from aiops.kit.settings import Duration, Secret, Section


class Credentials(Section):
    """Who we are."""

    username: str = ""
    """Name."""
    password: Secret | None = None
    """Secret."""
    attempts: int = 3
    """A number."""

    @field_validator("username")
    @classmethod
    def _check(cls, value: str) -> str:
        if "!" in value:
            raise ValueError(f"{value!r} has a '!'")
        return value


class Mail(Section):
    """A receiver."""

    type: Literal["mail"]
    """Tag."""
    to: str
    """Address."""


class Hook(Section):
    """A receiver."""

    type: Literal["hook"]
    """Tag."""
    url: Secret
    """Address."""


class Job(Section):
    """Something in a list."""

    name: str
    """Required."""
    every: Duration = 10.0
    """A duration."""
    labels: dict[str, str] = Field(default_factory=dict)
    """A mapping."""


class Whole(Section):
    """A configuration with every shape that a room may use."""

    interval: Duration = 5.0
    """A duration."""
    enabled: bool = False
    """A flag."""
    names: tuple[str, ...] = ()
    """A list."""
    files: tuple[Path, ...] = ()
    """Paths."""
    jobs: list[Job] = Field(default_factory=list)
    """Sections in a list."""
    receivers: list[Annotated[Mail | Hook, Field(discriminator="type")]] = Field(default_factory=list)
    """A tagged union in a list."""
    login: Credentials = Credentials()
    """A section."""
    other: Credentials | None = None
    """An optional section."""
    source: str = Field("", alias="from")
    """A key that Python reserves."""


def loaded(tmp_path: Path, text: str = "", environ: Mapping[str, str] | None = None, *flags: Override) -> Loaded[Whole]:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    return load(Whole, Sources(file, environ or {}, flags))


def problems(tmp_path: Path, text: str = "", environ: Mapping[str, str] | None = None, *flags: Override) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text, environ, *flags)
    return str(caught.value).replace(f"{tmp_path}/", "").splitlines()


def test_without_anything_all_is_default() -> None:
    result = load(Config, Sources(None, {}))
    assert result.config == Config()
    assert result.origins == {}
    assert result.origin(("interval",)) == "default"


def test_precedence(tmp_path: Path) -> None:
    flag = Override(("interval",), "4s", "--interval")
    environ = {"AIOPS_INTERVAL": "3s", "AIOPS_LOGIN__USERNAME": "env"}
    text = "interval: 2s\nlogin:\n  username: file\n  attempts: 9\n"
    layers = (
        (loaded(tmp_path), 5.0, "default"),
        (loaded(tmp_path, text), 2.0, f"{tmp_path}/c.yaml:1"),
        (loaded(tmp_path, text, environ), 3.0, "AIOPS_INTERVAL"),
        (loaded(tmp_path, text, environ, flag), 4.0, "--interval"),
        (loaded(tmp_path, "", {}, flag), 4.0, "--interval"),
    )
    for result, value, origin in layers:
        assert result.config.interval == value
        assert result.origin(("interval",)) == origin
    mixed = loaded(tmp_path, text, environ)
    assert (mixed.config.login.username, mixed.config.login.attempts) == ("env", 9)
    assert mixed.origin(("login", "username")) == "AIOPS_LOGIN__USERNAME"
    assert mixed.origin(("login", "attempts")).endswith("c.yaml:4")


def test_variables_take_every_shape(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        "jobs: [{name: a}, {name: b}]\nlogin: {username: x}\n",
        {
            "AIOPS_NAMES": "[a, b]",
            "AIOPS_JOBS": '[{"name": "json",\n"labels": {"k": "v"}\n}]',
            "AIOPS_ENABLED": "true",
            "AIOPS_LOGIN__ATTEMPTS": "7",
            "AIOPS_LOGIN__PASSWORD": "[not a list",
            "AIOPS_OTHER__USERNAME": "made",
            "AIOPS_FROM": "alias",
        },
    ).config
    assert config.names == ("a", "b")
    assert config.jobs == [Job(name="json", labels={"k": "v"})]
    assert (config.enabled, config.login.attempts, config.login.username, config.source) == (True, 7, "x", "alias")
    assert config.login.password is not None
    assert config.login.password.get_secret_value() == "[not a list"
    assert config.other == Credentials(username="made")


def test_what_kubernetes_and_our_own_tools_set_is_no_configuration(tmp_path: Path) -> None:
    environ = {
        "AIOPS_SERVICE_HOST": "10.0.0.1",
        "AIOPS_PORT": "tcp://10.0.0.1:9797",
        "AIOPS_PORT_9797_TCP_ADDR": "10.0.0.1",
        "AIOPS_URL": "http://x",
        "AIOPS_INTERVAL": "",
        "HOME": "/",
    }
    assert loaded(tmp_path, "", environ).config == Whole()


def test_references(tmp_path: Path) -> None:
    text = "names: ['${A}-${B:-z}', '^go$', '$${A}', '${1}']\nlogin: {attempts: '${N}'}\ninterval: ${T}\n"
    result = loaded(tmp_path, text, {"A": "x", "N": "8", "T": "7s"})
    assert result.config.names == ("x-z", "^go$", "${A}", "${1}")
    assert (result.config.login.attempts, result.config.interval) == (8, 7.0)
    assert "${A}-${B:-z}" in to_yaml(result)


def test_relative_paths_start_at_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = loaded(tmp_path, "files: [a/b.pem, /c.pem, '${D}/e']", {"D": "d"}).config
    assert config.files == (tmp_path / "a/b.pem", Path("/c.pem"), tmp_path / "d/e")
    assert loaded(tmp_path, "", {"AIOPS_FILES": "[a]"}).config.files == (Path("a"),)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text("files: [x]")
    assert load(Whole, Sources(Path("c.yaml"), {})).config.files == (tmp_path / "x",)


def test_an_empty_section_is_the_default(tmp_path: Path) -> None:
    config = loaded(tmp_path, "login:\n  # username: x\njobs:\nnames:\nother:\n").config
    assert config == Whole()


# Configuration that is wrong → what is said. One line each unless a file has several mistakes.
BROKEN: list[tuple[str, str, list[str]]] = [
    ("a typo", "intervall: 5s", ["c.yaml:1: intervall: unknown key; did you mean 'interval'?"]),
    ("a typo inside", "login:\n  pasword: x", ["c.yaml:2: login.pasword: unknown key; did you mean 'password'?"]),
    ("another case", "login:\n  userName: x", ["c.yaml:2: login.userName: unknown key; did you mean 'username'?"]),
    ("a dash", "login: {user-name: x}", ["c.yaml:1: login.user-name: unknown key; did you mean 'username'?"]),
    (
        "a typo in a list",
        "jobs:\n- name: a\n  evry: 1s",
        ["c.yaml:3: jobs[0].evry: unknown key; did you mean 'every'?"],
    ),
    (
        "nothing near",
        "login:\n  zzz: 1",
        ["c.yaml:2: login.zzz: unknown key; expected one of attempts, password, username"],
    ),
    (
        "an unknown section",
        "kafka: {}",
        ["c.yaml:1: kafka: unknown key; expected one of enabled, files, from, interval, jobs, login, names, "],
    ),
    ("the Python name of an alias", "source: x", ["c.yaml:1: source: unknown key; expected one of"]),
    ("a repeated key", "interval: 5s\n\ninterval: 6s", ["c.yaml:3: key 'interval' is given twice; first on line 1"]),
    (
        "a repeated key inside",
        "login:\n  username: a\n  username: b",
        ["c.yaml:3: key 'username' is given twice; first on line 2"],
    ),
    (
        "no duration",
        "interval: 5 parsecs",
        ["c.yaml:1: interval: '5 parsecs' is not a duration; expected seconds or a form such as 250ms, 5s, 1h30m"],
    ),
    ("a negative duration", "interval: -5", ["c.yaml:1: interval: should be greater than or equal to 0, got -5"]),
    (
        "no number",
        "login:\n\n  attempts: many",
        ["c.yaml:3: login.attempts: should be a valid integer, unable to parse"],
    ),
    (
        "a fraction",
        "login: {attempts: 1.5}",
        ["c.yaml:1: login.attempts: should be a valid integer, got a number with"],
    ),
    ("no flag", "enabled: perhaps", ["c.yaml:1: enabled: should be a valid boolean"]),
    ("a number as text", "from: 5", ["c.yaml:1: from: should be a valid string, got 5"]),
    ("text for a section", "login: me", ["c.yaml:1: login: should be a mapping, got 'me'"]),
    ("a list for a section", "login: [me]", ["c.yaml:1: login: should be a mapping, got a list"]),
    ("text for a list", "names: a, b", ["c.yaml:1: names: should be a list, got 'a, b'"]),
    ("a mapping for a list", "jobs: {name: a}", ["c.yaml:1: jobs: should be a list, got a mapping"]),
    ("nothing for text", "from:", ["c.yaml:1: from: should be a valid string, got nothing"]),
    ("a missing key", "jobs:\n- every: 1s", ["c.yaml:2: jobs[0].name: is required"]),
    ("an item in the second place", "jobs:\n- name: a\n- 5", ["c.yaml:3: jobs[1]: should be a mapping, got 5"]),
    (
        "a value in a mapping",
        "jobs:\n- name: a\n  labels:\n    k: [1]",
        ["c.yaml:4: jobs[0].labels.k: should be a valid"],
    ),
    ("no tag", "receivers:\n- to: x", ["c.yaml:2: receivers[0]: Unable to extract tag"]),
    ("a wrong tag", "receivers:\n- type: pigeon", ["c.yaml:2: receivers[0]: Input tag 'pigeon' found using 'type'"]),
    (
        "a typo in a union",
        "receivers:\n- type: mail\n  to: x\n  ulr: y",
        ["c.yaml:4: receivers[0].ulr: unknown key; did you mean 'url'?"],
    ),
    ("a missing key in a union", "receivers:\n- type: hook", ["c.yaml:2: receivers[0].url: is required"]),
    ("a check of a section", "login: {username: 'a!'}", ["c.yaml:1: login.username: 'a!' has a '!'"]),
    (
        "an unset variable",
        "from: ${NOPE}",
        ["c.yaml:1: from: environment variable NOPE is not set; write ${NOPE:-default} to allow that"],
    ),
    ("an unset variable, told once", "interval: ${NOPE}", ["c.yaml:1: interval: environment variable NOPE is not set"]),
    ("a broken reference", "from: ${", ["c.yaml:1: from: '${' must be followed by NAME}; write '$${' for"]),
    (
        "a tab",
        "login:\n\tusername: x",
        ["c.yaml:2: not YAML: found character that cannot start any token; indent with"],
    ),
    ("bad indentation", "login:\n  username: x\n attempts: 1", ["c.yaml:3: not YAML: "]),
    ("a colon too many", "from: a: b", ["c.yaml:1: not YAML: mapping values are not allowed in this context"]),
    ("an open bracket", "names: [a,\n", ["c.yaml:2: not YAML: did not find expected node content"]),
    ("an open quote", "from: 'a\n", ["c.yaml:2: not YAML: found unexpected end of stream"]),
    ("a control character", "from: \x07", ["c.yaml:1: not YAML: character U+0007 is not allowed"]),
    (
        "code",
        "from: !!python/object/apply:os.system [id]",
        ["c.yaml:1: tag tag:yaml.org,2002:python/object", "c.yaml:1"],
    ),
    ("a custom tag", "from: !secret x", ["c.yaml:1: tag !secret is not supported; expected plain YAML"]),
    ("two documents", "interval: 5s\n---\ninterval: 6s", ["c.yaml:2: a second document begins here; expected one"]),
    ("a list at the top", "- a", ["c.yaml:1: expected a mapping of settings (key: value) at the top"]),
    ("text at the top", "hello", ["c.yaml:1: expected a mapping of settings (key: value) at the top"]),
    ("an unknown alias", "from: *x", ["c.yaml:1: alias *x names no finished anchor before it"]),
    ("an alias of itself", "names: &n [*n]", ["c.yaml:1: alias *n names no finished anchor before it"]),
    ("a list as key", "? [a]\n: b", ["c.yaml:1: a key must be a word, not a list, a mapping or an alias"]),
    ("a wrong merge", "login: {<<: 5}", ["c.yaml:1: '<<' merges mappings; expected an alias of one"]),
    (
        "everything at once, in the order of the file",
        "intervall: 1\nenabled: perhaps\nlogin:\n  attempts: x\n  attempts: 1\njobs: [{every: 1q}]",
        [
            "c.yaml:1: intervall: unknown key",
            "c.yaml:2: enabled: ",
            "c.yaml:4: login.attempts: ",
            "c.yaml:5: key 'attempts' is given twice",
            "c.yaml:6: jobs[0].name: is required",
            "c.yaml:6: jobs[0].every: '1q' is not a duration",
        ],
    ),
]


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_broken_files(tmp_path: Path, text: str, expected: list[str]) -> None:
    told = problems(tmp_path, text)
    assert len(told) == len(expected), told
    for line, start in zip(told, expected, strict=True):
        assert line.startswith(start)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"AIOPS_LOGIN__USRNAME": "x"}, "AIOPS_LOGIN__USRNAME: login.usrname: unknown key; did you mean 'username'?"),
        ({"AIOPS_LOGN__USERNAME": "x"}, "AIOPS_LOGN__USERNAME: logn: unknown key; did you mean 'login'?"),
        ({"AIOPS_INTERVAL": "x"}, "AIOPS_INTERVAL: interval: 'x' is not a duration"),
        ({"AIOPS_NAMES": "[a"}, "AIOPS_NAMES: names: not YAML: "),
        ({"AIOPS_NAMES": "a"}, "AIOPS_NAMES: names: should be a list, got 'a'"),
        ({"AIOPS_JOBS__0__NAME": "x"}, "AIOPS_JOBS__0__NAME: jobs.0: unknown key"),
        ({"AIOPS_LOGIN__USERNAME__X": "x"}, "AIOPS_LOGIN__USERNAME__X: login.username.x: unknown key"),
    ],
)
def test_broken_variables(tmp_path: Path, environ: dict[str, str], expected: str) -> None:
    told = problems(tmp_path, "", environ)
    assert len(told) == 1
    assert told[0].startswith(expected)


def test_a_broken_flag_is_named(tmp_path: Path) -> None:
    told = problems(tmp_path, "interval: 3s", {}, Override(("interval",), "soon", "--interval"))
    assert told == [
        "--interval: interval: 'soon' is not a duration; expected seconds or a form such as 250ms, 5s, 1h30m"
    ]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "large.yaml").write_bytes(b"# " + b"x" * 2_000_000)
    (tmp_path / "binary.yaml").write_bytes(b"a: 1\nb: \xff\xfe")
    os.mkfifo(tmp_path / "pipe")
    for name, expected in (
        ("none.yaml", "cannot be read: No such file or directory"),
        ("", "is not a regular file"),
        ("pipe", "is not a regular file"),
        ("large.yaml", "is larger than"),
        ("binary.yaml", "binary.yaml:2: is not UTF-8 text"),
    ):
        with pytest.raises(ConfigError, match=expected):
            load(Whole, Sources(tmp_path / name, {}))


def test_a_thousand_mistakes_are_counted_and_not_all_printed(tmp_path: Path) -> None:
    told = problems(tmp_path, "\n".join(f"wrong{n}: 1" for n in range(1000)))
    assert len(told) == 51
    assert told[-1] == "… and 950 more"


def test_terminal_commands_in_a_file_come_out_harmless(tmp_path: Path) -> None:
    assert problems(tmp_path, '"in\\e[31mter\\nval": 1')[0].startswith("c.yaml:1: in\\u001b[31mter\\nval: unknown key")


CANARY = "canary-4711-hunter2"
LEAKS = [
    ("login: {password: %s}", {}),
    ("login: {password: '${PW}'}", {"PW": CANARY}),
    ("from: https://hooks/${HOOK}", {"HOOK": CANARY}),
    ("from: http://me:%s@host", {}),
    ("receivers: [{type: hook, url: 'http://h/%s'}]", {}),
    ("", {"AIOPS_LOGIN__PASSWORD": CANARY}),
    ("jobs: [{name: a, labels: {api_key: %s}}]", {}),
]


@pytest.mark.parametrize(("text", "environ"), LEAKS)
def test_no_secret_in_what_is_printed(tmp_path: Path, text: str, environ: dict[str, str]) -> None:
    result = loaded(tmp_path, text.replace("%s", CANARY), environ)
    assert CANARY not in to_yaml(result)
    assert CANARY not in repr(result.config.login) + str(result.config.receivers)


@pytest.mark.parametrize(("text", "environ"), LEAKS)
@pytest.mark.parametrize("mistake", ["\nbad: 1", "\nlogin: {username: '!'}", "\nnames: 5"])
def test_no_secret_in_messages(tmp_path: Path, text: str, environ: dict[str, str], mistake: str) -> None:
    assert CANARY not in "\n".join(problems(tmp_path, text.replace("%s", CANARY) + mistake, environ))


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ("login: {password: [%s]}", {}),
        ("login: {password: {x: %s}}", {}),
        ("login: {pasword: %s}", {}),
        ("interval: ${PW}", {"PW": CANARY}),
        ("login: {username: '${PW}!'}", {"PW": CANARY}),
        ("login: {attempts: '${PW}'}", {"PW": CANARY}),
        ("receivers: [{type: '${PW}'}]", {"PW": CANARY}),
        ("receivers: [{type: hook, url: [%s]}]", {}),
        ("names: http://u:%s@h", {}),
        ("login: {password: '%s'\n", {}),
    ],
)
def test_no_secret_when_it_stands_in_the_wrong_place(tmp_path: Path, text: str, environ: dict[str, str]) -> None:
    assert CANARY not in "\n".join(problems(tmp_path, text.replace("%s", CANARY), environ))


def test_loaded_secrets_are_masked_in_any_later_text(tmp_path: Path) -> None:
    loaded(tmp_path, "login: {password: later-canary}\nother: {password: '${PW}'}", {"PW": "other-canary"})
    loaded(tmp_path, "from: ${SLACK_TOKEN}${NAMESPACE}", {"SLACK_TOKEN": "third-canary", "NAMESPACE": "production"})
    assert redact("a later-canary, other-canary, third-canary in production") == (
        "a <secret>, <secret>, <secret> in production"
    )


def test_what_is_printed_loads_again(tmp_path: Path) -> None:
    text = "interval: 90s\nnames: [no, '5', 'a b', '']\nfrom: 'true'\n"
    text += "jobs: [{name: 'x: y', labels: {'a b': 'c'}}, {name: z}]\n"
    first = loaded(tmp_path, text)
    printed = to_yaml(first)
    assert "interval: 1m30s" in printed
    assert loaded(tmp_path, printed).config == first.config


def test_what_is_printed_names_origins(tmp_path: Path) -> None:
    printed = to_yaml(loaded(tmp_path, "interval: 1s\nnames:\n- a\n", {"AIOPS_LOGIN__ATTEMPTS": "4"}))
    assert f"interval: 1s  # {tmp_path}/c.yaml:1\n" in printed
    assert "  attempts: 4  # AIOPS_LOGIN__ATTEMPTS\n" in printed
    assert "enabled: false\n" in printed


def test_secret_values_reach_the_configuration(tmp_path: Path) -> None:
    password = loaded(tmp_path, "login: {password: '${PW}'}", {"PW": CANARY}).config.login.password
    assert password == SecretStr(CANARY)
