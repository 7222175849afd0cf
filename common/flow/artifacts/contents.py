"""How values become the content of an artifact and back, chosen by the suffix of its name.

Text, bytes and JSON need nothing; tables need pandas. ``add_content`` adds a suffix.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import IO, Any, Final, NamedTuple

from flow.artifacts.errors import UnknownContent
from flow.extras import missing, need

#: A suffix behind the others: the bytes are compressed.
COMPRESSED: Final = ".gz"
#: What brings pandas and pyarrow.
EXTRA: Final = "tables"


class Content(NamedTuple):
    """What a suffix means. Both functions get an open binary stream and the caller's options."""

    dump: Callable[..., None]  #: (value, stream, **options)
    load: Callable[..., Any]  #: (stream, **options) -> value
    is_text: bool = True  #: ``open("r")`` gives text


_contents: dict[str, Content] = {}


def add_content(
    suffix: str,
    *,
    dump: Callable[..., None],
    load: Callable[..., Any],
    is_text: bool = False,
) -> None:
    """Teach ``artifact(".suffix")`` a kind of value, in a module that tasks import.

    Args:
        suffix: With its dot.
        dump: Called with (value, open binary stream, **options of ``Artifact.dump``).
        load: Called with (open binary stream, **options of ``Artifact.load``).
        is_text: Whether ``open("r")`` decodes UTF-8.
    """
    if not suffix.startswith(".") or suffix == COMPRESSED or "/" in suffix:
        raise UnknownContent(f"{suffix!r} is not a suffix", hint='write it as ".npy"')
    _contents[suffix.lower()] = Content(dump, load, is_text)


def suffix_of(name: str) -> tuple[str, bool]:
    """Return the suffix that says what is inside, and whether it is compressed."""
    name = name.rpartition("/")[2].lower()
    compressed = name.endswith(COMPRESSED)
    if compressed:
        name = name[: -len(COMPRESSED)]
    dot = name.rfind(".")
    return (name[dot:] if dot >= 0 else ""), compressed


def content_of(name: str) -> Content | None:
    """Return what the suffix of a name means, or None."""
    return _contents.get(suffix_of(name)[0])


def required_content(name: str) -> Content:
    """Return what the suffix of a name means. Raises ``UnknownContent``."""
    found = content_of(name)
    if found is None:
        raise UnknownContent(
            f"{name}: nothing is known about the suffix {suffix_of(name)[0]!r}; "
            f"known are {', '.join(sorted(_contents))}, each also with {COMPRESSED} behind it",
            hint="use one of them, or .open(), or flow.artifacts.contents.add_content",
        )
    return found


def _wrong(suffix: str, expected: str, value: object) -> UnknownContent:
    return UnknownContent(
        f"an artifact {suffix} takes {expected}, got {type(value).__name__}",
        hint="convert it, or choose another suffix: .json, .pkl, ...",
    )


def _dump_txt(value: Any, stream: IO[bytes]) -> None:
    if not isinstance(value, str):
        raise _wrong(".txt", "str", value)
    stream.write(value.encode())


def _load_txt(stream: IO[bytes]) -> str:
    return stream.read().decode()


def _dump_bin(value: Any, stream: IO[bytes]) -> None:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise _wrong(".bin", "bytes", value)
    stream.write(value)


def _load_bin(stream: IO[bytes]) -> bytes:
    return stream.read()


def _dump_pkl(value: Any, stream: IO[bytes], **options: Any) -> None:
    import pickle  # the user chose it by the suffix

    pickle.dump(value, stream, **options)


def _load_pkl(stream: IO[bytes], **options: Any) -> Any:
    import pickle  # the user chose it by the suffix

    from flow.modules.scripts import alias_main  # few programs read pickles

    alias_main()  # a task may have written classes of the script that runs here
    return pickle.load(stream, **options)


def _dump_json(value: Any, stream: IO[bytes], **options: Any) -> None:
    import json

    options.setdefault("ensure_ascii", False)
    try:
        text = json.dumps(value, **options)
    except TypeError as error:
        raise UnknownContent(
            f"an artifact .json takes what JSON can say: {error}",
            hint='pass default=str to dump(), or use the suffix ".pkl"',
        ) from error
    stream.write(text.encode("utf-8", "surrogatepass") + b"\n")


def _load_json(stream: IO[bytes], **options: Any) -> Any:
    import json

    return json.loads(stream.read().decode("utf-8", "surrogatepass"), **options)


def _dump_jsonl(value: Any, stream: IO[bytes], **options: Any) -> None:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise _wrong(".jsonl", "an iterable of values, one a line", value)
    for each in value:
        _dump_json(each, stream, **options)


def _load_jsonl(stream: IO[bytes], **options: Any) -> list[Any]:
    import json

    return [json.loads(line, **options) for line in stream if line.strip()]


def _dump_csv(value: Any, stream: IO[bytes], **options: Any) -> None:
    # pandas mistakes a compressed stream for text, so it gets text.
    text = io.TextIOWrapper(stream, "utf-8", newline="", write_through=True)
    try:
        if hasattr(value, "to_csv"):
            if hasattr(value, "index"):
                named = any(name is not None for name in value.index.names)
                options.setdefault("index", named)
            value.to_csv(text, **options)
        else:
            _write_rows(value, text, options)
    finally:
        text.detach()  # a wrapper that is dropped closes what it wraps


def _write_rows(value: Any, text: IO[str], options: dict[str, Any]) -> None:
    import csv

    rows, first = _rows(value, ".csv")
    options.setdefault("lineterminator", "\n")
    if isinstance(first, Mapping):
        table = csv.DictWriter(text, list(first), **options)
        table.writeheader()
        table.writerows(rows)
    elif first is not None:
        csv.writer(text, **options).writerows(rows)


def _rows(value: Any, suffix: str) -> tuple[Iterable[Any], Any]:
    expected = "a pandas DataFrame, or a list of dicts or of rows"
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise _wrong(suffix, expected, value)
    rows = iter(value)
    first = next(rows, None)
    if first is None:
        return [], None
    if isinstance(first, (str, bytes)) or not isinstance(first, Iterable):
        raise _wrong(suffix, expected + ",", value)
    return itertools.chain([first], rows), first


def _load_csv(stream: IO[bytes], *, rows: bool = False, **options: Any) -> Any:
    """Read a DataFrame; with ``rows`` a list of dicts of text, which needs no pandas."""
    text = io.TextIOWrapper(stream, "utf-8", newline="")
    try:
        if not rows:
            pandas = _pandas(".csv (unless read by load(rows=True) as a list of dicts)")
            try:
                return pandas.read_csv(text, **options)
            except pandas.errors.EmptyDataError:
                return pandas.DataFrame()
        import csv

        return list(csv.DictReader(text, **options))
    finally:
        text.detach()  # whoever opened what it wraps closes that


def _dump_parquet(value: Any, stream: IO[bytes], **options: Any) -> None:
    pandas = _pandas(".parquet")
    if not hasattr(value, "to_parquet"):
        rows, _ = _rows(value, ".parquet")
        value = pandas.DataFrame(list(rows))
    held = io.BytesIO()  # pyarrow closes what it is given, finished or not
    _parquet(lambda: value.to_parquet(held, **options))
    stream.write(held.getbuffer())


def _load_parquet(stream: IO[bytes], **options: Any) -> Any:
    pandas = _pandas(".parquet")
    # A reader of Parquet jumps around; not every stream of a remote store can.
    return _parquet(lambda: pandas.read_parquet(io.BytesIO(stream.read()), **options))


def _pandas(suffix: str) -> Any:
    return need("pandas", EXTRA, f"an artifact {suffix}")


def _parquet(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except ImportError as error:  # pandas looks for an engine when it needs one
        raise missing("pyarrow", EXTRA, "an artifact .parquet") from error


_contents.update(
    {
        ".txt": Content(_dump_txt, _load_txt),
        ".bin": Content(_dump_bin, _load_bin, is_text=False),
        ".pkl": Content(_dump_pkl, _load_pkl, is_text=False),
        ".json": Content(_dump_json, _load_json),
        ".jsonl": Content(_dump_jsonl, _load_jsonl),
        ".csv": Content(_dump_csv, _load_csv),
        ".parquet": Content(_dump_parquet, _load_parquet, is_text=False),
    }
)
