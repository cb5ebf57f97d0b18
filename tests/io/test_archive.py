"""Archives: fields that do not fit are named, declared sizes are not believed, and writing leaves nothing behind."""

import io
import os
import stat
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

from adagrad_nb import L1, Polyak, RowAdagrad, fit_linear, init, load_model, load_state
from adagrad_nb.io import archive

needs_posix = pytest.mark.skipif(os.name != "posix", reason="permissions, links and signals are those of POSIX")
X = np.eye(4, 3)
Y = [0, 1, 0, 1]


def rewrite(path, kind, change):
    """Apply a function to the JSON data and the arrays of a file, and write it again with its checksum."""
    meta, arrays = archive.read_archive(path, kind)
    change(meta, arrays)
    archive.write_archive(path, kind, meta, arrays)


@pytest.fixture
def model_path(tmp_path, interpreted):
    fit_linear(X, Y, penalty=L1(np.full(3, 0.1)), average=Polyak(), lr=0.5).save(tmp_path / "model.npz")
    return tmp_path / "model.npz"


@pytest.fixture
def state_path(tmp_path):
    init(np.ones((8, 5)), RowAdagrad(), average=Polyak()).save(tmp_path / "state.npz")
    return tmp_path / "state.npz"


def set_item(container, key, value):
    container[key] = value


MODEL_CHANGES = {
    "total: got shape (1,); must have shape (3,)": lambda m, a: set_item(a, "total", np.zeros(1)),
    "w: got dtype float32; must be float64": lambda m, a: set_item(a, "w", np.zeros(3, np.float32)),
    "w: the array is missing": lambda m, a: a.pop("w"),
    "slot0: has the entry nan; every entry must be in [0, inf)": lambda m, a: set_item(a, "slot0", np.full(3, np.nan)),
    "slot0: has the entry -1.0; every entry must be in [0, inf)": lambda m, a: set_item(a, "slot0", -np.ones(3)),
    "w: has the entry inf; every entry must be in (-inf, inf)": lambda m, a: set_item(a, "w", np.full(3, np.inf)),
    "last: has the entry 9; every entry must be in [0, 4]": lambda m, a: set_item(a, "last", np.full(3, 9)),
    "spare: there is no such array among": lambda m, a: set_item(a, "spare", np.zeros(1)),
    "batch_size: got 0; must be an integer in [1,": lambda m, a: set_item(m["numbers"], "batch_size", 0),
    "batch_size: got True; must be of type int": lambda m, a: set_item(m["numbers"], "batch_size", True),
    "normalized: got 0; must be of type bool": lambda m, a: set_item(m["numbers"], "normalized", 0),
    "t: got -1; must be an integer in [0,": lambda m, a: set_item(m, "t", -1),
    "t: is missing": lambda m, a: m.pop("t"),
    "n_seen: got 1e3; must be of type int".replace("1e3", "1000.0"): lambda m, a: set_item(m, "n_seen", 1e3),
    "since: got 5; must be an integer in [0, 4]": lambda m, a: set_item(m, "since", 5),
    "n_features: got 1000000000000, but w has shape (3,)": lambda m, a: set_item(m, "n_features", 10**12),
    "dtype: got 'float16'; must be float32 or float64": lambda m, a: set_item(m, "dtype", "float16"),
    "labels: got [1, 'x']; must be of one kind": lambda m, a: set_item(m, "labels", [1, "x"]),
    "labels: got [1, 0]; must be different and in increasing order": lambda m, a: set_item(m, "labels", [1, 0]),
    "lr: got nan; must be a number within float64": lambda m, a: set_item(m["options"], "lr", float("nan")),
    "penalty: L1.strength: got 'x'; must be of type float, array": lambda m, a: set_item(
        m["options"]["penalty"]["fields"], "strength", "x"
    ),
    "penalty: L1.strength: got L1(strength=1.0); must be of type float": lambda m, a: set_item(
        m["options"]["penalty"]["fields"], "strength", {"record": "L1", "fields": {"strength": 1.0}}
    ),
    "L1.strength: got shape (2,); must be a number or have shape (3,)": lambda m, a: set_item(a, "option8", np.ones(2)),
    "rule: Adagrad has the fields": lambda m, a: set_item(m["options"]["rule"]["fields"], "extra", 1),
    "loss: the file uses the record IndependentOutputs, which is not of this package": lambda m, a: set_item(
        m, "loss", {"record": "IndependentOutputs", "fields": {"loss": m["loss"]}}
    ),
}


@pytest.mark.parametrize("sentence", MODEL_CHANGES)
def test_a_model_file_that_does_not_fit_is_refused_by_name(sentence, model_path):
    rewrite(model_path, "linear model", MODEL_CHANGES[sentence])
    with pytest.raises(ValueError) as caught:
        load_model(model_path)
    assert str(caught.value).startswith(f"{model_path}: ")
    assert sentence in str(caught.value)


STATE_CHANGES = {
    "slot0_of_0: got shape (64,); must have shape (8,)": lambda m, a: set_item(a, "slot0_of_0", np.zeros(64)),
    "mean_of_0: got shape (8,); must have shape (8, 5)": lambda m, a: set_item(a, "mean_of_0", np.zeros(8)),
    "slot0_of_0: got dtype int64; must be float64": lambda m, a: set_item(a, "slot0_of_0", np.zeros(8, np.int64)),
    "must have shape (8, 1000000000000)": lambda m, a: set_item(m["leaves"][0], 1, [8, 10**12]),
    "x: got -8; must be an integer in [0,": lambda m, a: set_item(m["leaves"][0], 1, [-8, 5]),
    "x: got dtype 'object'; must be one of float32": lambda m, a: set_item(m["leaves"][0], 2, "object"),
    "t: got 9223372036854775808; must be an integer": lambda m, a: set_item(m["counts"], "t", 2**63),
    "pending: got 1; must be an integer in [0, 0]": lambda m, a: set_item(m["counts"], "pending", 1),
    "scale: got 0.0; must be a number in (0, inf)": lambda m, a: set_item(m["counts"], "scale", 0.0),
    "decay: got 2 numbers for 1 arrays": lambda m, a: set_item(m, "decay", [0.0, 0.0]),
    "seed: got -1; must be an integer": lambda m, a: set_item(m, "seed", -1),
    "options: got": lambda m, a: m["options"].pop("lr"),
}


@pytest.mark.parametrize("sentence", STATE_CHANGES)
def test_a_state_file_that_does_not_fit_is_refused_by_name(sentence, state_path):
    rewrite(state_path, "state", STATE_CHANGES[sentence])
    with pytest.raises(ValueError) as caught:
        load_state(state_path)
    assert str(caught.value).startswith(f"{state_path}: ")
    assert sentence in str(caught.value)


def test_arrays_in_another_order_or_byte_order_are_converted(state_path):
    before = load_state(state_path)

    def swap(meta, arrays):
        arrays["slot0_of_0"] = arrays["slot0_of_0"].astype(">f8")
        arrays["mean_of_0"] = np.asfortranarray(arrays["mean_of_0"])

    rewrite(state_path, "state", swap)
    after = load_state(state_path)
    for old, new in ((before.slots[0][0], after.slots[0][0]), (before.means[0], after.means[0])):
        np.testing.assert_array_equal(new, old)
        assert new.dtype == old.dtype
        assert new.dtype.isnative
        assert new.flags.carray


def test_what_could_not_be_loaded_is_not_saved(tmp_path):
    state = init(np.ones(2))
    state.slots[0][0][1] = np.nan
    with pytest.raises(ValueError, match="slot0_of_0: has the entry nan"):
        state.save(tmp_path / "state.npz")
    assert not list(tmp_path.iterdir())


# --- declared sizes --------------------------------------------------------------------------------------------------


def npy(shape, data=b"", dtype="<f8"):
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


def zipped(members, method=zipfile.ZIP_STORED):
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", method) as file:
        for name, content in members:
            file.writestr(name, content)
    return raw.getvalue()


META = ("meta.npy", npy((2,), b"{}", "|u1"))
BOMBS = {
    "shape .* of float64 does not fit 0 bytes": zipped([META, ("w.npy", npy((10**15,)))]),
    "is compressed": zipped([META, ("w.npy", npy((4 * 10**6,), bytes(32 * 10**6)))], zipfile.ZIP_DEFLATED),
    "the header is not that of an array of numbers": zipped([META, ("w.npy", npy("(" * 5000))]),
    "not that of an array": zipped([META, ("w.npy", npy((1,), bytes(8), "|O"))]),
}


@pytest.mark.parametrize("sentence", BOMBS)
def test_a_file_is_not_believed_before_its_bytes_are_there(sentence, tmp_path):
    path = tmp_path / "bomb.npz"
    path.write_bytes(BOMBS[sentence])
    tracemalloc.start()
    with pytest.raises(ValueError, match=sentence):
        load_state(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6


def test_members_that_share_bytes_are_refused(tmp_path):
    """Many directory entries for the same bytes, as in a quine bomb."""
    raw = zipped([META, ("w.npy", npy((10**5,), bytes(8 * 10**5)))])
    with zipfile.ZipFile(io.BytesIO(raw)) as file:
        start = file.start_dir
        offset = file.getinfo("w.npy").header_offset
    entry = raw[raw.index(b"PK\x01\x02", start + 4) : raw.rindex(b"PK\x05\x06")]
    assert struct.unpack("<I", entry[42:46])[0] == offset
    copies = [entry.replace(b"w.npy", b"%c.npy" % letter) for letter in b"abcdefgh"]
    directory = raw[start : raw.index(entry, start)] + b"".join(copies)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 9, 9, len(directory), start, 0)
    (tmp_path / "bomb.npz").write_bytes(raw[:start] + directory + end)
    with pytest.raises(ValueError, match="declare more bytes than the file has"):
        load_state(tmp_path / "bomb.npz")


def test_nested_json_is_refused(tmp_path):
    text = b"[" * 10**5 + b"]" * 10**5
    (tmp_path / "deep.npz").write_bytes(zipped([("meta.npy", npy((len(text),), text, "|u1"))]))
    with pytest.raises(ValueError, match="not a file of this package"):
        load_state(tmp_path / "deep.npz")


def test_nested_records_are_refused(state_path):
    def nest(meta, arrays):
        for _ in range(200):
            meta["options"]["penalty"] = {"record": "Bounded", "fields": {"penalty": meta["options"]["penalty"]}}

    rewrite(state_path, "state", nest)
    with pytest.raises(ValueError, match="nested more than 32 times"):
        load_state(state_path)


# --- other files -----------------------------------------------------------------------------------------------------

OTHERS = {
    "text, 'label,a'": b"label,a\n1,2\n",
    "text, '1 1:0.5'": b"1 1:0.5\n",
    "UTF-16 text": "1 1:0.5\n".encode("utf-16"),
    "gzip data": b"\x1f\x8b\x08",
    "a pickle": b"\x80\x04\x95",
    r"a NumPy array \(.npy\)": npy((1,), bytes(8)),
    "nothing": b"",
    "unknown bytes": b"\x00\xff\x00\xff",
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("load", [load_model, load_state])
def test_other_files_are_named(name, load, tmp_path):
    path = tmp_path / "other"
    path.write_bytes(OTHERS[name])
    with pytest.raises(ValueError, match=f"not a file of this package, or damaged .it holds {name}") as caught:
        load(path)
    assert "allow_pickle" not in str(caught.value)


def test_a_descriptor_is_refused_and_stays_open(tmp_path):
    with open(tmp_path / "file", "w") as file:
        for load in (load_model, load_state, lambda path: fit_linear(np.eye(2), [0, 1], resume=path)):
            with pytest.raises(TypeError, match="expected str, bytes or os.PathLike object, not int"):
                load(file.fileno())
        os.fstat(file.fileno())


@needs_posix
def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = subprocess.Popen([sys.executable, "-c", "import sys; open(sys.argv[1], 'wb')", str(tmp_path / "pipe")])
    with pytest.raises(ValueError, match="is a stream; save it to a file to load it"):
        load_model(tmp_path / "pipe")
    writer.wait(60)


# --- atomic writing --------------------------------------------------------------------------------------------------


@needs_posix
def test_a_file_keeps_its_mode(state_path):
    for mode in (0o600, 0o640, 0o444):
        os.chmod(state_path, mode)
        load_state(state_path).save(state_path)
        assert stat.S_IMODE(state_path.stat().st_mode) == mode


@needs_posix
def test_a_temporary_file_of_a_private_file_is_private(tmp_path):
    path = tmp_path / "private"
    path.write_bytes(b"")
    path.chmod(0o600)
    with archive.atomic_write(path):
        (temporary,) = [item for item in tmp_path.iterdir() if item != path]
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600


@needs_posix
@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_stays_one(exists, tmp_path, state_path):
    target, link = tmp_path / "folder" / "target.npz", tmp_path / "link.npz"
    target.parent.mkdir()
    if exists:
        target.write_bytes(b"old")
    link.symlink_to(os.path.join("folder", "target.npz"))
    load_state(state_path).save(link)
    assert link.is_symlink()
    assert load_state(target).t == 0
    assert [item.name for item in target.parent.iterdir()] == ["target.npz"]


@needs_posix
def test_pipes_and_devices_are_written_and_stay(tmp_path):
    pipe, received = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    with archive.atomic_write(pipe) as file:
        file.write(b"text")
    reader.join(10)
    assert received == [b"text"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


KILLED = """
import os, sys, time
from adagrad_nb.io.archive import atomic_write
with atomic_write(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    time.sleep(60)
"""


def start_writer(path):
    writer = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE)
    assert writer.stdout.readline().strip() == b"writing"
    return writer


@needs_posix
def test_the_rest_of_a_killed_save_goes_with_the_next(tmp_path):
    path = tmp_path / "state.npz"
    writer = start_writer(path)
    with archive.atomic_write(path) as file:  # while the other still writes
        file.write(b"whole")
    assert path.read_bytes() == b"whole"
    writer.kill()
    writer.communicate()
    assert len(list(tmp_path.iterdir())) == 2
    for content in (b"next", b"last"):
        with archive.atomic_write(path) as file:
            file.write(content)
        assert [item.name for item in tmp_path.iterdir()] == ["state.npz"]
        assert path.read_bytes() == content


def test_writers_at_once_leave_one_whole_file(tmp_path):
    path = tmp_path / "file"

    def write(letter):
        for _ in range(40):
            with archive.atomic_write(path) as file:
                for _ in range(20):
                    file.write(letter * 500)
                    time.sleep(0)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b", b"c", b"d")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    content = path.read_bytes()
    assert len(content) == 10_000
    assert len(set(content)) == 1
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


@needs_posix
def test_a_planted_link_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (tmp_path / ".file.partial").symlink_to(victim)
    with archive.atomic_write(tmp_path / "file") as file:
        file.write(b"new")
    assert victim.read_bytes() == b"mine"
    assert (tmp_path / "file").read_bytes() == b"new"


def test_any_wrong_byte_is_found(state_path):
    """Also in the fields of the archive that have no meaning, such as times."""
    sound = state_path.read_bytes()
    rng = np.random.default_rng(0)
    for position in range(len(sound)):
        damaged = bytearray(sound)
        damaged[position] ^= int(rng.integers(1, 256))
        state_path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"state\.npz: "):
            archive.read_archive(state_path, "state")
    state_path.write_bytes(sound + b"x")
    with pytest.raises(ValueError, match="checksum"):
        archive.read_archive(state_path, "state")


def test_archives_are_npz_files(state_path, tmp_path):
    """NumPy reads them, and a file without the checksum of this version is read, too."""
    with np.load(state_path) as file:
        arrays = dict(file)
    assert arrays["slot0_of_0"].shape == (8,)
    np.savez(tmp_path / "old.npz", **arrays)
    assert load_state(tmp_path / "old.npz").t == 0
