"""Configuration: what is accepted, by every road, and how the rest is refused."""

from __future__ import annotations

import enum
import itertools
import math
import os
import re
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import pytest

from eventstore.config import ALIASES, Durability, StoreConfig, unit_of
from eventstore.errors import ConfigError, EventStoreError
from eventstore.key_config import KeyConfig

ENGINE_YAML = """\
live_trading:
  persistence:
    backup_count: 5
    use_wal: true
    wal_max_entries: 10000
    auto_save_interval: 60  # seconds
"""


def test_the_defaults_are_the_documented_ones() -> None:
    assert msgspec.structs.asdict(StoreConfig()) == {
        "durability": Durability.COMMIT,
        "sync_interval": 0.05,
        "segment_size": 8 * 1024 * 1024,
        "backup_count": 5,
        "wal_max_entries": 10_000,
        "auto_save_interval": 60.0,
        "use_wal": True,
        "history": "archive",
        "keyframe_events": 10_000,
        "unusable_snapshots": "refuse",
        "max_pending": 65_536,
        "idle_seal": 1.0,
        "slow_sync": 0.25,
        "commit_timeout": None,
        "low_space": "warn",
        "keys": KeyConfig(),
        "replicate": None,
    }


def test_a_configuration_is_frozen_and_compares_by_value() -> None:
    config = StoreConfig()
    with pytest.raises(AttributeError):
        config.backup_count = 6  # type: ignore[misc]  # that assigning is refused is the point
    assert config == StoreConfig.of(None)
    assert config != StoreConfig(backup_count=6)


def test_fields_are_keyword_only_and_misspelt_ones_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"StoreConfig\.of"):
        StoreConfig(Durability.COMMIT)  # type: ignore[call-arg]  # refused is the point
    with pytest.raises(ConfigError, match="did you mean 'backup_count'") as caught:
        StoreConfig(bakup_count=5)  # type: ignore[call-arg]  # refused is the point
    assert caught.value.key == "bakup_count"


IMPOSSIBLE: list[tuple[str, Any]] = [
    ("durability", "sometimes"),
    ("durability", 1),
    ("durability", None),
    ("durability", True),
    ("durability", ["commit"]),
    *itertools.product(
        ("sync_interval", "auto_save_interval", "idle_seal", "slow_sync", "commit_timeout"),
        (0, 0.0, -1, -0.5, math.nan, math.inf, -math.inf, True, "5", "50ms", 10**400),
    ),
    *itertools.product(
        ("backup_count", "wal_max_entries", "max_pending"),
        (0, -1, "5", True, False, 5.0, math.nan, [5], {}),
    ),
    ("sync_interval", None),
    ("idle_seal", None),
    ("slow_sync", None),
    ("backup_count", None),
    ("max_pending", None),
    ("segment_size", None),
    ("use_wal", None),
    ("segment_size", 0),
    ("segment_size", 4096 - 512),
    ("segment_size", 4096 + 1),
    ("segment_size", 256 * 1024 * 1024 + 512),
    ("segment_size", "8MiB"),
    ("segment_size", True),
    ("use_wal", 1),
    ("use_wal", "true"),
    ("history", "forget"),
    ("history", None),
    ("history", True),
    ("history", ["keep"]),
]


@pytest.mark.parametrize(("key", "value"), IMPOSSIBLE, ids=lambda part: repr(part)[:24])
def test_wrong_types_and_impossible_values_are_refused_by_every_road(key: str, value: Any) -> None:
    roads: list[tuple[str, Any]] = [
        (key, lambda: StoreConfig(**{key: value})),
        (key, lambda: StoreConfig.from_mapping({key: value})),
        (key, lambda: StoreConfig.of({}, **{key: value})),
        (key, lambda: StoreConfig.of(StoreConfig(), **{key: value})),
        (
            f"live_trading.persistence.{key}",
            lambda: StoreConfig.of({"live_trading": {"persistence": {key: value}}}),
        ),
    ]
    for path, road in roads:
        with pytest.raises(ConfigError) as refusal:
            road()
        assert refusal.value.key == path
        assert str(refusal.value).startswith(f"{path} = ")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("durability", Durability.NONE),
        ("sync_interval", 0.001),
        ("segment_size", 4096),
        ("segment_size", 256 * 1024 * 1024),
        ("backup_count", 1),
        ("wal_max_entries", 1),
        ("wal_max_entries", None),
        ("auto_save_interval", None),
        ("auto_save_interval", 86_400.0),
        ("use_wal", False),
        ("history", "keep"),
        ("history", "discard"),
        ("max_pending", 1),
    ],
)
def test_the_edges_of_what_is_possible_are_accepted(key: str, value: Any) -> None:
    assert getattr(StoreConfig(**{key: value}), key) == value
    assert getattr(StoreConfig.from_mapping({key: value}), key) == value


def test_whole_seconds_become_floats() -> None:
    config = StoreConfig(auto_save_interval=60, slow_sync=1)
    assert type(config.auto_save_interval) is float
    assert type(config.slow_sync) is float


@pytest.mark.parametrize("mode", list(Durability))
def test_durability_may_be_given_by_its_name(mode: Durability) -> None:
    options: dict[str, Any] = {"durability": mode.value}
    assert StoreConfig.from_mapping(options).durability is mode
    assert StoreConfig.of(None, **options).durability is mode
    assert StoreConfig(**options).durability is mode


def test_an_error_tells_the_key_the_value_what_was_expected_and_the_unit() -> None:
    with pytest.raises(ConfigError) as refusal:
        StoreConfig.from_mapping({"live_trading": {"persistence": {"sync_interval": "50ms"}}})
    assert str(refusal.value) == (
        "live_trading.persistence.sync_interval = '50ms': expected `float`, got `str` (seconds)"
    )
    with pytest.raises(ConfigError, match="one of 'commit', 'interval', 'none'"):
        StoreConfig.of(None, durability="fsync")
    with pytest.raises(ConfigError, match="one of 'archive', 'keep', 'discard'"):
        StoreConfig.of(None, history="zip")
    assert issubclass(ConfigError, ValueError)
    assert issubclass(ConfigError, EventStoreError)


def test_a_huge_value_is_shortened_in_the_error() -> None:
    with pytest.raises(ConfigError) as refusal:
        StoreConfig.of(None, backup_count="5" * 100_000)
    assert len(str(refusal.value)) < 200


class TestNames:
    def test_retain_snapshots_is_backup_count(self) -> None:
        assert StoreConfig.from_mapping({"retain_snapshots": 9}).backup_count == 9
        assert StoreConfig.of(None, retain_snapshots=9).backup_count == 9
        assert StoreConfig(backup_count=9).retain_snapshots == 9

    def test_errors_use_the_name_that_was_written(self) -> None:
        with pytest.raises(ConfigError) as refusal:
            StoreConfig.from_mapping({"retain_snapshots": 0})
        assert refusal.value.key == "retain_snapshots"

    @pytest.mark.parametrize("first", ["backup_count", "retain_snapshots"])
    def test_both_names_in_one_source_are_refused(self, first: str) -> None:
        second = {"backup_count": "retain_snapshots", "retain_snapshots": "backup_count"}[first]
        with pytest.raises(ConfigError, match="the same key") as refusal:
            StoreConfig.from_mapping({first: 5, second: 5})
        assert refusal.value.key == second

    def test_a_keyword_by_one_name_overrides_a_mapping_by_the_other(self) -> None:
        assert StoreConfig.of({"backup_count": 5}, retain_snapshots=2).backup_count == 2

    @pytest.mark.parametrize(
        ("written", "meant"),
        [
            ("bakup_count", "backup_count"),
            ("auto_save_intervall", "auto_save_interval"),
            ("wal-max-entries", "wal_max_entries"),
            ("USE_WAL", "use_wal"),
            ("retain_snapshot", "retain_snapshots"),
        ],
    )
    def test_unknown_keys_are_refused_with_the_likely_one(self, written: str, meant: str) -> None:
        for mapping, path in (
            ({written: 5}, written),
            (
                {"live_trading": {"persistence": {written: 5}}},
                f"live_trading.persistence.{written}",
            ),
        ):
            with pytest.raises(ConfigError) as refusal:
                StoreConfig.from_mapping(mapping)
            assert refusal.value.key == path
            assert str(refusal.value) == f"{path}: no such key; did you mean {meant!r}?"

    def test_a_key_like_no_other_is_refused_with_the_list(self) -> None:
        with pytest.raises(ConfigError) as refusal:
            StoreConfig.of(None, zzz=1)
        assert refusal.value.key == "zzz"
        assert all(field in str(refusal.value) for field in StoreConfig.__struct_fields__)

    def test_a_key_that_is_no_string_is_refused(self) -> None:
        with pytest.raises(ConfigError) as refusal:
            StoreConfig.from_mapping({5: 5})  # type: ignore[dict-item]  # YAML can say this
        assert refusal.value.key == "5"


class TestEngineBlock:
    def test_the_engines_block_is_accepted_as_it_is(self) -> None:
        block = {
            "backup_count": 3,
            "use_wal": False,
            "wal_max_entries": 500,
            "auto_save_interval": 15,
        }
        config = StoreConfig.from_mapping({"live_trading": {"persistence": block}})
        assert config == StoreConfig(
            backup_count=3, use_wal=False, wal_max_entries=500, auto_save_interval=15.0
        )

    def test_what_stands_beside_it_is_the_engines_own(self) -> None:
        config = StoreConfig.from_mapping(
            {
                "logging": {"level": "INFO"},
                "live_trading": {"symbols": ["AAPL"], "persistence": {"backup_count": 3}},
            }
        )
        assert config == StoreConfig(backup_count=3)

    @pytest.mark.parametrize(
        "mapping",
        [
            {"live_trading": {}},
            {"live_trading": None},
            {"live_trading": {"symbols": []}},
            {"live_trading": {"persistence": {}}},
            {"live_trading": {"persistence": None}},
        ],
    )
    def test_an_absent_or_empty_block_means_the_defaults(self, mapping: dict[str, Any]) -> None:
        assert StoreConfig.from_mapping(mapping) == StoreConfig()

    def test_a_misspelt_block_is_not_taken_for_an_absent_one(self) -> None:
        with pytest.raises(ConfigError, match="did you mean 'persistence'") as refusal:
            StoreConfig.from_mapping({"live_trading": {"persistance": {"backup_count": 3}}})
        assert refusal.value.key == "live_trading.persistance"

    @pytest.mark.parametrize(
        ("mapping", "key"),
        [
            ({"live_trading": 5}, "live_trading"),
            ({"live_trading": {"persistence": [1]}}, "live_trading.persistence"),
            ([1], ""),
            (None, ""),
        ],
    )
    def test_what_is_no_mapping_is_refused(self, mapping: Any, key: str) -> None:
        with pytest.raises(ConfigError, match="must be a mapping") as refusal:
            StoreConfig.from_mapping(mapping)
        assert refusal.value.key == key


class TestFiles:
    @pytest.mark.parametrize("suffix", [".yaml", ".yml", ".YAML"])
    def test_the_engines_yaml_is_loaded(self, tmp_path: Path, suffix: str) -> None:
        file = tmp_path / f"live_trading{suffix}"
        file.write_text(ENGINE_YAML)
        assert StoreConfig.load(file) == StoreConfig()
        assert StoreConfig.of(os.fspath(file), history="keep") == StoreConfig(history="keep")

    def test_native_keys_in_yaml(self, tmp_path: Path) -> None:
        file = tmp_path / "store.yaml"
        file.write_text("durability: none\nhistory: keep\nauto_save_interval: null\n")
        assert StoreConfig.load(file) == StoreConfig(
            durability=Durability.NONE, history="keep", auto_save_interval=None
        )

    def test_toml_with_native_keys_and_with_the_block(self, tmp_path: Path) -> None:
        file = tmp_path / "store.toml"
        file.write_text('durability = "interval"\nsync_interval = 0.1\n')
        assert StoreConfig.load(file) == StoreConfig(
            durability=Durability.INTERVAL, sync_interval=0.1
        )
        file.write_text("[live_trading.persistence]\nbackup_count = 2\n")
        assert StoreConfig.load(file) == StoreConfig(backup_count=2)

    def test_a_file_of_comments_means_the_defaults(self, tmp_path: Path) -> None:
        for suffix in (".yaml", ".toml"):
            file = tmp_path / f"empty{suffix}"
            file.write_text("# nothing yet\n")
            assert StoreConfig.load(file) == StoreConfig()

    @pytest.mark.parametrize(
        ("name", "content", "line"),
        [
            ("a.yaml", b"live_trading:\n  persistence: [1\n  x: 2\n", "line 3"),
            ("a.toml", b"backup_count = 1\nuse_wal =\n", "line 2"),
        ],
    )
    def test_malformed_files_are_refused_with_file_and_line(
        self, tmp_path: Path, name: str, content: bytes, line: str
    ) -> None:
        file = tmp_path / name
        file.write_bytes(content)
        with pytest.raises(ConfigError) as refusal:
            StoreConfig.load(file)
        assert str(file) in str(refusal.value)
        assert line in str(refusal.value)
        assert "\n" not in str(refusal.value)

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("a.yaml", b"\xff\xfe\xff"),
            ("a.yaml", b"since: 2020-99-99\n"),
            ("a.yaml", b"!!python/object/apply:os.getcwd []\n"),
            ("a.toml", b"\xff"),
        ],
    )
    def test_whatever_a_parser_chokes_on_is_a_config_error(
        self, tmp_path: Path, name: str, content: bytes
    ) -> None:
        file = tmp_path / name
        file.write_bytes(content)
        with pytest.raises(ConfigError, match="is malformed") as refusal:
            StoreConfig.load(file)
        assert str(file) in str(refusal.value)

    def test_a_refused_value_names_the_file_and_the_key(self, tmp_path: Path) -> None:
        file = tmp_path / "live.yaml"
        file.write_text("live_trading:\n  persistence:\n    bakup_count: 5\n")
        with pytest.raises(ConfigError, match="did you mean 'backup_count'") as refusal:
            StoreConfig.load(file)
        assert str(refusal.value).startswith(f"{file}: live_trading.persistence.bakup_count: ")
        assert refusal.value.key == "live_trading.persistence.bakup_count"

    def test_files_that_cannot_be_read_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="No such file") as refusal:
            StoreConfig.load(tmp_path / "absent.yaml")
        assert isinstance(refusal.value.__cause__, FileNotFoundError)
        (tmp_path / "folder.yaml").mkdir()
        with pytest.raises(ConfigError, match="cannot be read"):
            StoreConfig.load(tmp_path / "folder.yaml")

    @pytest.mark.parametrize("name", ["store.json", "store", "store.ini"])
    def test_other_kinds_of_files_are_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(ConfigError, match=r"ends in \.yaml, \.yml, \.toml"):
            StoreConfig.load(tmp_path / name)


class TestOf:
    def test_nothing_means_the_defaults(self) -> None:
        assert StoreConfig.of() == StoreConfig.of(None) == StoreConfig()

    def test_a_configuration_is_taken_as_it_is(self) -> None:
        config = StoreConfig(backup_count=2)
        assert StoreConfig.of(config) is config

    def test_options_override_every_kind_of_source(self, tmp_path: Path) -> None:
        file = tmp_path / "store.toml"
        file.write_text("backup_count = 2\nmax_pending = 9\n")
        expected = StoreConfig(backup_count=4, max_pending=9)
        for source in (
            StoreConfig(backup_count=2, max_pending=9),
            {"backup_count": 2, "max_pending": 9},
            MappingProxyType({"backup_count": 2, "max_pending": 9}),
            file,
            str(file),
        ):
            assert StoreConfig.of(source, backup_count=4) == expected

    def test_a_mapping_is_not_changed(self) -> None:
        mapping = {"retain_snapshots": 2}
        StoreConfig.of(mapping, max_pending=1)
        assert mapping == {"retain_snapshots": 2}

    @pytest.mark.parametrize("value", [5, b"path", ["backup_count"], object(), True])
    def test_anything_else_is_refused(self, value: Any) -> None:
        with pytest.raises(ConfigError, match="a mapping or the path of a file"):
            StoreConfig.of(value)

    def test_an_option_named_like_the_argument_is_an_unknown_key(self) -> None:
        with pytest.raises(ConfigError) as refusal:
            StoreConfig.of(value=5)
        assert refusal.value.key == "value"


PAGE = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"


class TestPage:
    """`docs/configuration.md` says what the code does."""

    def rows(self) -> dict[str, list[str]]:
        table = PAGE.read_text(encoding="utf-8").partition("## The keys")[2].partition("###")[0]
        cells = [
            [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
            for line in table.splitlines()
            if line.startswith("| `")
        ]
        return {row[0].strip("`"): row[1:] for row in cells}

    def test_the_table_has_every_key_in_the_order_of_the_code(self) -> None:
        assert list(self.rows()) == [*StoreConfig.__struct_fields__, *ALIASES]

    @pytest.mark.parametrize("key", StoreConfig.__struct_fields__)
    def test_a_row_has_the_unit_and_the_default_of_the_code(self, key: str) -> None:
        kind, unit, default, purpose, when = self.rows()[key]
        value = getattr(StoreConfig(), key)
        if isinstance(value, enum.Enum):
            value = value.value
        elif value is None:
            value = "null"
        assert unit == (unit_of(key) or "")
        if isinstance(value, msgspec.Struct):
            value = "{}"
        assert default == f"`{str(value).lower() if isinstance(value, bool) else value}`"
        assert kind
        assert purpose
        assert when

    @pytest.mark.parametrize("key", StoreConfig.__struct_fields__)
    def test_a_row_has_the_type_of_the_code(self, key: str) -> None:
        kind = self.rows()[key][0]
        default = getattr(StoreConfig(), key)
        name = "string" if isinstance(default, str | enum.Enum) else type(default).__name__
        if key == "replicate":
            name = "mapping"
        elif default is None:  # of an interval that nothing has by default
            name = type(getattr(StoreConfig.of(None, **{key: 1}), key)).__name__
        if isinstance(default, msgspec.Struct):
            name = "mapping"
        optional = True
        try:
            StoreConfig.of(None, **{key: None})
        except ConfigError:
            optional = False
        assert kind == (f"{name} or null" if optional else name)

    def test_the_yaml_and_toml_blocks_load(self, tmp_path: Path) -> None:
        found = re.findall(r"^```(yaml|toml)\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
        assert {language for language, _ in found} == {"yaml", "toml"}
        for number, (language, content) in enumerate(found):
            file = tmp_path / f"{number}.{language}"
            file.write_text(content)
            StoreConfig.load(file)


@pytest.mark.parametrize(
    "text",
    [
        "backup_count: 3\nuse_wal: true\nbackup_count: 5\n",
        "live_trading:\n  persistence:\n    backup_count: 3\n    backup_count: 3\n",
        "live_trading: {persistence: {}}\nother: [{a: 1, a: 2}]\n",
    ],
)
def test_a_key_given_twice_in_a_file_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "store.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"line \d: the key '\w+' is given twice"):
        StoreConfig.load(file)
