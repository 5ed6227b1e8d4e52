"""Scripts and Python agree on the record's fields and on the rows' positions."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.store import record, rows, scripts
from runtime.store.attempt_store import AttemptStore
from runtime.store.attempts import Settlement, Taken

LUA = {path.stem: path.read_text() for path in (Path(scripts.__file__).parent / "lua").glob("*.lua")}
DECLARED = {field.name for field in record.FIELDS}
NAMED = [
    (script, line.strip(), line.rpartition("-- ")[2])
    for script, text in LUA.items()
    for line in text.splitlines()
    if line.rpartition("-- ")[2] in vars(rows) and line.partition("-- ")[0].strip()
]


def names_in(line):
    """What a line that ends in a row's name calls its positions, and from which on."""
    if constants := re.match(r"local ([A-Z_, ]+) = ([\d, ]+) --", line):
        return constants[1].lower().split(", "), int(constants[2].split(", ")[0]) - 1
    if read := re.match(r"local ([\w, ]+) = unpack\(", line):
        return read[1].split(", "), 0
    return re.search(r"\{([^{}]+)\}\)* *(?:, '[^']*', [^)]*\))? *--", line)[1].split(", "), 0


@pytest.mark.parametrize(("script", "line", "row"), NAMED, ids=lambda part: part[:60])
def test_a_script_names_the_positions_of_a_row_as_python_does(script, line, row):
    fields = getattr(rows, row)._fields
    names, start = names_in(line)
    names = [name.strip("'") for name in names]

    if row == "Order":
        names[0] = "verb"
    assert [
        (ours, theirs)
        for ours, theirs in zip(names, fields[start : start + len(names)], strict=True)
        if ours not in ("_", theirs) and not ours.endswith(f".{theirs}")
    ] == []


def test_every_row_of_the_scripts_is_named_in_them():
    of_scripts = {
        name
        for name, row in vars(rows).items()
        if getattr(row, "_fields", None) and row.__module__ == rows.__name__
    }

    assert of_scripts == {row for _, _, row in NAMED}


def arguments(text, start):
    """The top-level arguments of a call whose opening bracket stands at `start`."""
    depth, quoted, found, one = 0, False, [], ""
    for char in text[start:]:
        quoted ^= char == "'"
        depth += (char in "({") - (char in ")}") if not quoted else 0
        if depth == 0:
            return [*found, one.strip()]
        if char == "," and depth == 1 and not quoted:
            found.append(one.strip())
            one = ""
        elif not (char == "(" and depth == 1 and not one):
            one += char
    raise AssertionError("the call does not end")


def used():
    """Each field of a record that a script reads, sets or removes: (script, what it does, field)."""
    for script, text in LUA.items():
        for call in re.finditer(r"\b(call|fields)\(", text):
            first, *rest = arguments(text, call.end() - 1)
            if call[1] == "fields":
                verb, target = "'HMGET'", first
            else:
                verb, target, rest = first, rest[0] if rest else "", rest[1:]
            if target not in ("record", "job_key(id)", "job_key(other)", "job_key(parent)"):
                continue
            if verb == "'HSET'":
                rest = rest[::2]
            elif verb in ("'HGET'", "'HINCRBY'"):
                rest = rest[:1]
            elif verb not in ("'HMGET'", "'HDEL'"):
                continue
            yield from ((script, verb.strip("'"), name.strip("'")) for name in rest)


USED = list(used())


def test_scripts_use_declared_fields_alone_and_every_one_of_them():
    assert {name for _, _, name in USED} - DECLARED == set()
    assert DECLARED - {name for _, verb, name in USED if verb in ("HSET", "HINCRBY")} == set()


@pytest.mark.parametrize("field", record.FIELDS, ids=lambda field: field.name)
def test_a_field_is_written_by_those_who_are_declared(field):
    assert {script for script, verb, name in USED if name == field.name and verb in ("HSET", "HINCRBY")} == set(
        field.writers
    )


def test_the_architecture_tells_of_every_field():
    told = (Path(scripts.__file__).parents[2] / "ARCHITECTURE.md").read_text()

    for field in record.FIELDS:
        assert f"| `{field.name}` | {field.holds} | {field.there} |" in told


def test_python_sends_and_reads_the_rows_as_they_are_declared(settings):
    sent = AttemptStore(None, settings, 0, "w")._ended
    taken = Taken("f", "low", b"1-0", "id", 2, b"", 3, 1, 0, 5)
    plain = rows.Ended(*sent(Settlement(taken, "completed", b"value", 7, 8)))
    full = sent(Settlement(replace(taken, busy="f", extras=b"x"), "failed", b"value", staged=4))
    given = rows.Started(b"f", b"low", b"1-0", b"id", 2, b"payload", 3, 1, 1, b"busy", b"extras")
    (read,) = AttemptStore(None, settings, 0, "w")._read_reply([9, -1, 0, [given]]).jobs

    assert (plain.id, plain.type, plain.lane, plain.entry, plain.attempt) == ("id", "f", "low", b"1-0", 2)
    assert (plain.outcome, plain.value, plain.delay, plain.keep) == ("completed", b"value", 7, 8)
    assert (full.has_extras, full.busy, full.staged, full.children) == (True, "f", 4, None)
    assert (read.type, read.lane, read.entry, read.id, read.attempt) == ("f", "low", b"1-0", "id", 2)
    assert (read.payload, read.max_attempts, read.created_at, read.spared) == (b"payload", 3, 1, 1)
    assert (read.busy, read.extras, read.started_at) == ("busy", b"extras", 9)
