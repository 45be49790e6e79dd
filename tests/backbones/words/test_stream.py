"""Where word vectors lie: plain, in a .gz, in a .zip; and what is none of them at first sight."""

from __future__ import annotations

import gzip
import os
import pickle
import re
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fxengine import InputError, WordVectors
from tests.backbones.words import files

TEXT = files.text([(b"a", (1.0, 2.0)), (b"b", (3.0, 4.0))])


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def refused(path: str | Path) -> str:
    with pytest.raises(InputError) as error:
        WordVectors.open(path)
    return str(error.value)


def test_plain_packed_and_members_are_read_alike(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_bytes(TEXT)
    (tmp_path / "v.txt.gz").write_bytes(gzip.compress(TEXT, mtime=0))
    (tmp_path / "v.bin.gz").write_bytes(gzip.compress(files.binary([(b"a", (1.0, 2.0)), (b"b", (3.0, 4.0))])))
    one = zipped(tmp_path / "one.zip", {"folder/": b"", "folder/v.txt": TEXT, "__MACOSX/folder/._v.txt": b"x"})
    many = zipped(tmp_path / "many.zip", {"v.50d.txt": b"c 1\n", "v #2.txt": TEXT})
    (tmp_path / "a#b.txt").write_bytes(TEXT)
    for place in ("v.txt", "v.txt.gz", "v.bin.gz", "one.zip", "one.zip#folder/v.txt", "many.zip#v #2.txt", "a#b.txt"):
        found = WordVectors.open(str(tmp_path / place))
        assert found.words == ["a", "b"], place
        assert found.array.tolist() == [[1, 2], [3, 4]]
        assert found.source == str(tmp_path / place)
    assert WordVectors.open(f"{many}#v.50d.txt").words == ["c"]
    assert one.exists()


def test_the_member_of_a_zip_must_be_named_and_there(tmp_path: Path) -> None:
    many = zipped(tmp_path / "g.zip", {"g.50d.txt": TEXT, "g.100d.txt": TEXT})
    assert refused(many) == (
        f"{many} has several members: name the one to read, as {many}#g.50d.txt. It has: g.50d.txt, g.100d.txt."
    )
    assert refused(f"{many}#g.txt") == f"{many} has no member 'g.txt'. It has: g.50d.txt, g.100d.txt."
    assert refused(zipped(tmp_path / "none.zip", {"a/": b""})).endswith(" is a .zip with nothing in it.")
    lots = zipped(tmp_path / "lots.zip", {f"{at}.txt": TEXT for at in range(12)})
    assert refused(lots).endswith("8.txt, 9.txt and 2 more.")
    (tmp_path / "v.txt").write_bytes(TEXT)
    assert refused(tmp_path / "v.txt#a").endswith("v.txt is no .zip, so that there is no member 'a' in it.")
    assert refused(tmp_path / "no.txt#a") == f"There is no file '{tmp_path}/no.txt' of word vectors."
    assert refused("a\0b").startswith("There is no file 'a")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty."),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "is a Git LFS pointer, not the file"),
        (b"\n<!DOCTYPE html>\n<html>", "is a web page saved as a file. Fetch the file itself."),
        (b"\xef\xbb\xbf<html lang=en>", "is a web page saved as a file."),
        (pickle.dumps({"a": [1.0]}), "is a pickle, as save.. of gensim writes it: .*save_word2vec_format"),
        (pickle.dumps({"a": [1.0]}, 2), "is a pickle"),
        (b"\x93NUMPY\1\0", "is a numpy file, which has no words. Write vectors and words in word2vec's text format."),
        (b"BZh91AY", "is packed by bzip2. Unpack it first."),
        (gzip.compress(b"", mtime=0), "is empty."),
        (gzip.compress(TEXT * 10, mtime=0)[:-30], "is cut or damaged: .* Fetch it again."),
        (gzip.compress(TEXT, mtime=0)[:20] + b"oh no, no gzip", "is cut or damaged: "),
        (b"PK\3\4 no zip", "is cut or damaged: File is not a zip file. Fetch it again."),
        (bytes(range(256)) * 3, "is binary, and neither word2vec's format nor fastText's .bin."),
        (b"3 4\n" + bytes(9), r"ends within row 1: it is cut. Fetch it again."),
    ],
)
def test_what_is_no_word_vectors_is_named(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "v").write_bytes(content)
    assert re.match(re.escape(f"{tmp_path}/v ") + why, refused(tmp_path / "v")), refused(tmp_path / "v")


def test_archives_and_encrypted_members_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", a=np.zeros(3))
    assert refused(tmp_path / "one.npz").startswith(f"{tmp_path}/one.npz is a numpy file, which has no words. Write")
    np.savez(tmp_path / "two.npz", a=np.zeros(3), b=np.zeros(3))
    assert refused(tmp_path / "two.npz").startswith(f"{tmp_path}/two.npz is a numpy file, which has no words. Write")
    (tmp_path / "v.txt").write_bytes(TEXT)
    with tarfile.open(tmp_path / "v.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "v.txt", "v.txt")
    assert refused(tmp_path / "v.tar.gz").endswith("v.tar.gz is a tar archive. Unpack it first.")
    path = zipped(tmp_path / "e.zip", {"v.txt": TEXT})
    data = bytearray(path.read_bytes())
    data[6] |= 1  # the flag of encryption, in the member's header and in the directory's entry
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    assert refused(path) == f"{path} needs a password: unpack it first."


def test_a_cut_member_is_named(tmp_path: Path) -> None:
    path = zipped(tmp_path / "v.zip", {"v.txt": TEXT})
    data = bytearray(path.read_bytes())
    data[35:45] = b"\xff" * 10
    path.write_bytes(data)
    assert re.search(r"v\.zip is cut or damaged: .* Fetch it again\.$", refused(path))


def test_folders_and_pipes_are_refused(tmp_path: Path) -> None:
    assert refused(tmp_path) == (
        f"{tmp_path} is a folder without model.safetensors and tokenizer.json: name a file of word vectors, or a "
        "folder that model2vec wrote."
    )
    os.mkfifo(tmp_path / "pipe")
    assert refused(tmp_path / "pipe") == f"{tmp_path}/pipe cannot be read: It is not a regular file: {tmp_path}/pipe."
