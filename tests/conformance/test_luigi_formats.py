"""Formats and pipes do what Luigi's do, and each library reads what the other wrote."""

import bz2
import gzip
import io
import os
import subprocess
import warnings

import luigi.format as theirs
import luigi.local_target
import pytest

import flow.format as ours
from flow.local_target import LocalTarget

NAMES = ["Text", "UTF8", "Nop", "SysNewLine", "Gzip", "Bzip2", "MixedUnicodeBytes"]
TEXT = "ä line\nand ☃ another\n"
ROT13 = ["tr", "a-z", "n-za-m"]
BYTES = b"a line\nand \xff another\n" * 500


def content_for(name):
    return TEXT if name in ("Text", "UTF8") else BYTES


def write(target, content):
    with target.open("w") as out:
        out.write(content)


def read(target):
    with target.open("r") as source:
        return source.read()


@pytest.mark.parametrize("name", NAMES)
def test_each_reads_what_the_other_wrote(tmp_path, name):
    path = str(tmp_path / "f")
    content = content_for(name)
    write(LocalTarget(path, format=getattr(ours, name)), content)
    assert read(luigi.local_target.LocalTarget(path, format=getattr(theirs, name))) == content
    write(luigi.local_target.LocalTarget(path, format=getattr(theirs, name)), content)
    assert read(LocalTarget(path, format=getattr(ours, name))) == content


@pytest.mark.parametrize("outer", ["Text", "UTF8"])
@pytest.mark.parametrize("inner", ["Gzip", "Bzip2", "Nop", "SysNewLine"])
def test_chains_are_written_and_read_alike(tmp_path, outer, inner):
    path = str(tmp_path / "f")
    chain = getattr(ours, outer) >> getattr(ours, inner)
    their_chain = getattr(theirs, outer) >> getattr(theirs, inner)
    write(LocalTarget(path, format=chain), TEXT)
    assert read(luigi.local_target.LocalTarget(path, format=their_chain)) == TEXT
    write(luigi.local_target.LocalTarget(path, format=their_chain), TEXT)
    assert read(LocalTarget(path, format=chain)) == TEXT


@pytest.mark.parametrize("first", NAMES)
@pytest.mark.parametrize("second", NAMES)
def test_the_same_chains_are_refused(first, second):
    def refused(module):
        try:
            getattr(module, first) >> getattr(module, second)
        except TypeError:
            return True
        return False

    assert refused(ours) == refused(theirs)


def test_refused_chain_says_what_does_not_fit_and_can_be_forced():
    with pytest.raises(TypeError, match="GzipFormat gives bytes, TextFormat takes unicode"):
        ours.Gzip >> ours.Text
    forced = ours.ChainFormat(ours.Gzip, ours.Text, check_consistency=False)
    assert (forced.input, forced.output) == ("bytes", "bytes")


def test_default_format_is_text_in_both():
    assert ours.get_default_format() is ours.Text
    assert theirs.get_default_format() is theirs.Text


@pytest.mark.parametrize("data", [b"a\r\nb\rc\n\n\rd", b"\r", b"\r\n", b"no end"])
def test_line_ends_are_written_and_read_as_luigi_does(tmp_path, data):
    found = []
    for target, module in ((LocalTarget, ours), (luigi.local_target.LocalTarget, theirs)):
        path = str(tmp_path / module.__name__)
        write(target(path, format=module.SysNewLine), data)
        with open(path, "rb") as raw:
            found.append((raw.read(), read(target(path, format=module.SysNewLine))))
    assert found[0] == found[1]


def test_line_ends_split_between_writes_stay_one(tmp_path):
    target = LocalTarget(tmp_path / "f", format=ours.NewlineFormat("\r\n"))
    with target.open("w") as out:
        for piece in (b"a\r", b"\nb\n", b"c\r"):
            out.write(piece)
    assert (tmp_path / "f").read_bytes() == b"a\r\nb\r\nc\r\n"
    with target.open() as source:
        assert list(source) == [b"a\r\n", b"b\r\n", b"c\r\n"]
    assert read(LocalTarget(tmp_path / "f", format=ours.NewlineFormat(""))).count(b"\r") == 3
    with pytest.raises(ValueError, match="newline"):
        ours.NewlineFormat("x")


def test_text_written_as_bytes_is_encoded_with_a_warning_in_both(tmp_path):
    for target, module in ((LocalTarget, ours), (luigi.local_target.LocalTarget, theirs)):
        path = str(tmp_path / module.__name__)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with target(path, format=module.MixedUnicodeBytes).open("w") as out:
                out.write("text ")
                out.write(b"bytes")
                out.writelines([b" a", " b"])
        assert [
            w.category for w in caught if "text" in str(w.message) or "unicode" in str(w.message)
        ]
        with open(path, "rb") as raw:
            assert raw.read() == b"text bytes a b"


@pytest.mark.parametrize(("name", "packed"), [("Gzip", gzip.compress), ("Bzip2", bz2.compress)])
def test_truncated_archive_raises_where_its_end_is_missing(tmp_path, name, packed):
    path = tmp_path / "f"
    path.write_bytes(packed(os.urandom(100_000))[:-50])
    with pytest.raises(EOFError):
        read(LocalTarget(path, format=getattr(ours, name)))


# Luigi's wrapper raises once more where nobody can catch it, when it is collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("module", [ours, theirs], ids=["flow", "luigi"])
class TestPipes:
    def test_input_pipe_reads_what_the_program_makes_of_a_file(self, module, tmp_path):
        (tmp_path / "f").write_bytes(b"b\na\n")
        with module.InputPipeProcessWrapper(["sort"], open(tmp_path / "f", "rb")) as pipe:
            assert list(pipe) == [b"a\n", b"b\n"]

    def test_input_pipe_takes_a_stream_without_a_descriptor(self, module):
        with module.InputPipeProcessWrapper(["sort"], io.BytesIO(b"b\na\n")) as pipe:
            assert pipe.read() == b"a\nb\n"

    def test_input_pipe_takes_a_process(self, module):
        process = subprocess.Popen(["echo", "x"], stdout=subprocess.PIPE)
        with module.InputPipeProcessWrapper(process) as pipe:
            assert pipe.read() == b"x\n"

    def test_input_pipe_whose_program_fails_raises(self, module):
        pipe = module.InputPipeProcessWrapper(["sh", "-c", "echo half; exit 3"])
        with pytest.raises(RuntimeError, match="3"), pipe:
            pipe.read()

    def test_reader_that_stops_early_is_no_error(self, module):
        with module.InputPipeProcessWrapper(["yes"]) as pipe:
            assert pipe.readline() == b"y\n"

    def test_exception_while_reading_hides_the_programs_failure(self, module):
        with (
            pytest.raises(KeyError),
            module.InputPipeProcessWrapper(["sh", "-c", "echo x; exit 3"]) as pipe,
        ):
            pipe.readline()
            raise KeyError

    def test_output_pipe_writes_through_the_program(self, module, tmp_path):
        out = (tmp_path / "f").open("wb")
        with module.OutputPipeProcessWrapper(["sort"], out) as pipe:
            pipe.write(b"b\na\n")
        assert out.closed
        assert (tmp_path / "f").read_bytes() == b"a\nb\n"

    def test_output_pipe_whose_program_fails_raises(self, module, tmp_path):
        with open(tmp_path / "f", "wb") as out:
            pipe = module.OutputPipeProcessWrapper(["sh", "-c", "cat; exit 3"], out)
            pipe.write(b"x")
            with pytest.raises(RuntimeError):
                pipe.close()

    def test_output_pipe_after_an_exception_does_not_close_what_it_writes_to(
        self, module, tmp_path
    ):
        with open(tmp_path / "f", "wb") as out:
            with pytest.raises(KeyError), module.OutputPipeProcessWrapper(["cat"], out) as pipe:
                pipe.write(b"x")
                raise KeyError
            assert not out.closed

    def test_format_through_programs_is_atomic(self, module, tmp_path):
        target_class = {ours: LocalTarget, theirs: luigi.local_target.LocalTarget}[module]

        class Rot(module.Format):
            input = output = "bytes"

            def pipe_reader(self, stream):
                return module.InputPipeProcessWrapper(ROT13, stream)

            def pipe_writer(self, stream):
                return module.OutputPipeProcessWrapper(ROT13, stream)

        target = target_class(str(tmp_path / "f"), format=module.UTF8 >> Rot())
        with pytest.raises(KeyError), target.open("w") as out:
            out.write("half")
            raise KeyError
        del out
        assert not target.exists()
        write(target, "hal\n")
        assert (tmp_path / "f").read_text() == "uny\n"
        assert read(target) == "hal\n"


def test_failing_program_leaves_no_target_and_no_temporary_file(tmp_path):
    class Failing(ours.Format):
        def pipe_writer(self, stream):
            return ours.OutputPipeProcessWrapper(["sh", "-c", "cat; exit 1"], stream)

    with (
        pytest.raises(ours.PipeFailed, match="sh -c cat; exit 1` ended with exit code 1"),
        LocalTarget(tmp_path / "f", format=Failing()).open("w") as out,
    ):
        out.write(b"x")
    assert list(tmp_path.iterdir()) == []


def test_program_that_does_not_exist_leaves_nothing(tmp_path):
    class Missing(ours.Format):
        def pipe_writer(self, stream):
            return ours.OutputPipeProcessWrapper(["no-such-program"], stream)

    with pytest.raises(FileNotFoundError):
        LocalTarget(tmp_path / "f", format=Missing()).open("w")
    assert list(tmp_path.iterdir()) == []


def test_program_that_ends_before_reading_everything_is_named(tmp_path):
    pipe = ours.OutputPipeProcessWrapper(["sh", "-c", "exit 7"])
    with pytest.raises(BrokenPipeError):
        for _ in range(100):
            pipe.write(b"x" * 100_000)
    with pytest.raises(ours.PipeFailed, match="exit code 7"):
        pipe.close()


def test_output_pipe_feeds_a_stream_without_a_descriptor():
    class Kept(io.BytesIO):
        def close(self):
            self.kept = self.getvalue()
            super().close()

    out = Kept()
    with ours.OutputPipeProcessWrapper(["sort"], out) as pipe:
        pipe.write(b"b\na\n" * 50_000)
    assert out.kept == b"a\n" * 50_000 + b"b\n" * 50_000
