"""Evasions that were written before anyone looked at what the rules say of them: a set held out from tuning."""

import bz2
import gzip
import io
import json
import lzma
import struct
import tarfile
import warnings
import zipfile
import zlib
from pathlib import Path

from samples.archives import CENTRAL, EVIL, GOOD, LOCAL, tar
from samples.build import PAYLOAD, SYSTEM, call, compressed, document, field, glob, gguf, npy, patched, pickled, sample, single, text, torch_zip
from samples.graphs import external, keras, model, node, onnx, safetensors, saved

P = text(PAYLOAD)


def short(value: bytes) -> bytes:
    """Pushes bytes."""
    return b"B" + struct.pack("<I", len(value)) + value


# Pickles: other ways to the same function.

OBJECTS = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01K\x01\x85cnumpy\ndtype\n" + text("O8") + b"\x89\x88\x87R(K\x03" + text("|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb\x89]"
for name, body, expected in [
    ("resolve-and-call", call("pkgutil", "resolve_name", text("os:system")) + P + b"\x85R", "unsafe"),
    ("resolve-dotted", call("pkgutil", "resolve_name", text("subprocess.run")) + P + b"\x85R", "unsafe"),
    ("gcd-import", call("importlib._bootstrap", "_gcd_import", text("os")), "unsafe"),
    ("entry-point", call("importlib.metadata", "EntryPoint", text("x"), text("os:system"), text("y")), "unsafe"),
    ("call-with-frames", call("_frozen_importlib", "_call_with_frames_removed", glob("os", "system"), P), "unsafe"),
    ("own-imports", glob("transformers.training_args", "os.system") + P + b"\x85R", "unsafe"),
    ("own-imports-of-torch", glob("torch.nn.modules.module", "warnings.sys.modules") + P + b"\x85R", "unsafe"),
    ("main-builtins", glob("__main__", "__builtins__.eval") + text("1") + b"\x85R", "unsafe"),
    ("module-builtins", glob("torch.nn.modules.linear", "__builtins__"), "suspicious"),
    ("modules-table", glob("sys", "modules") + text("x") + b"Ns", "unsafe"),
    ("pip-internal", call("pip._internal", "main", b"](" + text("install") + b"e"), "unsafe"),
    ("type", call("builtins", "type", text("X"), b")", b"}"), "unsafe"),
    ("newobj-by-name", call("copyreg", "__newobj__", glob("os", "_wrap_close")), "unsafe"),
    ("reconstruct-other-base", call("copyreg", "_reconstructor", glob("pathlib", "PosixPath"), glob("builtins", "str"), text("x")), "suspicious"),
    ("default-factory", call("collections", "defaultdict", glob("os", "getcwd")), "unsafe"),
    ("generator-constructor", call("numpy.random._pickle", "__generator_ctor", P, glob("os", "system")), "unsafe"),
    ("generator-of-unknown", call("numpy.random._pickle", "__generator_ctor", P, glob("mylib", "run")), "suspicious"),
    ("partial-state", call("functools", "partial", glob("builtins", "list")) + b"(" + glob("os", "system") + b")}}tb)R", "unsafe"),
    ("pop-mark", b"((" + SYSTEM + b"11N", "unsafe"),
    ("object-array", OBJECTS + SYSTEM + b"atb", "unsafe"),
    ("storage-class", b"(" + text("storage") + glob("os", "system") + text("0") + text("cpu") + b"K\x01tQ", "unsafe"),
    ("class-by-slots", glob("uuid", "UUID") + b")\x81N}" + text("__class__") + glob("collections", "OrderedDict") + b"s\x86b", "suspicious"),
    ("legacy-loader", call("torch.serialization", "_legacy_load", text("x"), text("cpu"), glob("pickle", "loads")), "unsafe"),
    ("unpickler", call("_pickle", "Unpickler", text("x")), "unsafe"),
    ("load-zip-from-bytes", call("torch.storage", "_load_from_bytes", short(EVIL)), "unsafe"),
    ("load-gzip-from-bytes", call("torch.storage", "_load_from_bytes", short(gzip.compress(pickled(SYSTEM)))), "suspicious"),
    ("codec-zlib", call("_codecs", "decode", short(b"x"), text("zlib")), "suspicious"),
    ("fullwidth-module", glob("ｏs", "system") + P + b"\x85R", "suspicious"),
    ("space-in-module", glob("os ", "system") + P + b"\x85R", "suspicious"),
    ("relative-module", glob(".os", "system") + P + b"\x85R", "suspicious"),
    ("bound-method", call("builtins", "getattr", glob("builtins", "str"), text("format")), "unsafe"),
    ("make-function", call("cloudpickle.cloudpickle", "_make_function", b"N", b"N"), "suspicious"),
    ("constructor-that-reads", call("pathlib", "Path.read_text", text("/etc/passwd")), "unsafe"),
    ("datasets-script", call("datasets", "load_dataset", text("x")), "suspicious"),
]:
    single(f"evasion/pickle-{name}", pickled(body), expected, file="model.pkl", family="evasions: pickle")

for name, data, expected, file in [
    ("escaped-string", b"S'\\x6f\\x73'\nS'\\x73ystem'\n\x93(S'mkdir pwned'\ntR.", "unsafe", "model.pkl"),
    ("unicode-escape", b"V\\u006fs\nV\\u0073ystem\n\x93(S'mkdir pwned'\ntR.", "unsafe", "model.pkl"),
    ("starts-with-none", b"N0cos\nsystem\n(S'mkdir pwned'\ntR.", "unsafe", "model.bin"),
    ("starts-with-list", b"]0cos\nsystem\n(S'mkdir pwned'\ntR.", "unsafe", "weights.dat"),
    ("starts-with-number", b"I1\n0cos\nsystem\n(S'mkdir pwned'\ntR.", "unsafe", "model.ckpt"),
    ("starts-with-float", b"F1.5\n0cos\nsystem\n(S'mkdir pwned'\ntR.", "unsafe", "model"),
    ("starts-with-text", b"Vhello\n0cos\nsystem\n(S'mkdir pwned'\ntR.", "unsafe", "model.pt"),
    ("named-json", b"}0cos\nsystem\n(S'mkdir pwned'\ntR.", "suspicious", "tokenizer.json"),
    ("named-readme", b"]0cos\nsystem\n(S'mkdir pwned'\ntR.", "suspicious", "README.md"),
    ("protocol-late", b"N0\x80\x04" + SYSTEM + b".", "unsafe", "model.pkl"),
    ("protocol-9", b"\x80\x09" + SYSTEM + b".", "error", "model.pkl"),
    ("proto-twice", b"\x80\x02\x80\x04" + SYSTEM + b".", "unsafe", "model.pkl"),
    ("long-put", b"\x80\x04" + SYSTEM + b"r\xff\xff\xff\xff.", "unsafe", "model.pkl"),
    ("huge-bytes-after", b"\x80\x04" + SYSTEM + b"\x8e" + b"\xff" * 8 + b".", "unsafe", "model.pkl"),
    ("third-of-three", pickled(b"}") + pickled(b"]") + pickled(SYSTEM), "unsafe", "model.pkl"),
    ("after-zeros", pickled(b"N") + bytes(4096) + pickled(SYSTEM), "suspicious", "model.pkl"),
]:
    single(f"evasion/stream-{name}", data, expected, file=file, family="evasions: streams")


# Archives: readers that see different members.


def zipped(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip with these members, in this order, however often a name comes."""
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", method) as archive:
        warnings.simplefilter("ignore")
        for name, data in members:
            archive.writestr(name, data)
    return out.getvalue()


def two_ends() -> bytes:
    """Two directories, with an end record each: one for who looks from the front, one for who looks from the back."""
    evil, good = EVIL, GOOD
    at = good.index(CENTRAL)
    moved = bytearray(good)
    place = at
    while (place := moved.find(CENTRAL, place)) >= 0:
        offset = struct.unpack_from("<I", moved, place + 42)[0]
        struct.pack_into("<I", moved, place + 42, offset + len(evil))
        place += 4
    end = moved.rindex(b"PK\x05\x06")
    struct.pack_into("<I", moved, end + 16, at + len(evil))
    return evil + bytes(moved)


def descriptors() -> bytes:
    """A member whose sizes stand behind it, and are other ones in the directory."""
    out = io.BytesIO()

    class Stream(io.RawIOBase):
        """Cannot seek, so that sizes are written behind the data."""

        def writable(self):
            return True

        def write(self, data):
            return out.write(data)

    with zipfile.ZipFile(Stream(), "w") as archive:
        archive.writestr("archive/data.pkl", pickled(b"N0" + SYSTEM))
        archive.writestr("archive/version", "3\n")
    data = bytearray(out.getvalue())
    at = data.index(CENTRAL)
    struct.pack_into("<II", data, at + 20, 4, 4)
    return bytes(data)


def renamed_by_extra() -> bytes:
    """A member with a second name in an extra field."""
    name, other = b"archive/notes.md", b"archive/data.pkl"
    extra = struct.pack("<HHBI", 0x7075, 5 + len(other), 1, zlib.crc32(name)) + other
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo(name.decode())
        info.extra = extra
        archive.writestr(info, pickled(SYSTEM))
        archive.writestr("archive/version", "3\n")
    return out.getvalue()


def longer_than_announced() -> bytes:
    """A compressed member that goes on behind its announced size."""
    data = bytearray(zipped([("archive/data.pkl", pickled(b"N0" * 50 + SYSTEM)), ("archive/version", b"3\n")], zipfile.ZIP_DEFLATED))
    struct.pack_into("<I", data, data.index(LOCAL) + 22, 8)
    struct.pack_into("<I", data, data.index(CENTRAL) + 24, 8)
    return bytes(data)


for name, data, expected, file in [
    ("two-archives", two_ends(), "unsafe", "model.pt"),
    ("evil-then-good", EVIL + GOOD, "unsafe", "model.pt"),
    ("comment-with-archive", GOOD[:-2] + struct.pack("<H", len(EVIL)) + EVIL, "unsafe", "model.pt"),
    ("descriptors", descriptors(), "unsafe", "model.pt"),
    ("second-name", renamed_by_extra(), "unsafe", "model.pt"),
    ("longer-than-announced", longer_than_announced(), "suspicious", "model.pt"),
    ("other-method", patched(zipped([("archive/data.pkl", pickled(SYSTEM))]), LOCAL, 8, b"\x08\x00"), "unsafe", "model.pt"),
    ("method-bzip2", zipped([("archive/data.pkl", pickled(SYSTEM))], zipfile.ZIP_BZIP2), "error", "model.pt"),
    ("method-lzma", zipped([("archive/data.pkl", pickled(SYSTEM))], zipfile.ZIP_LZMA), "error", "model.pt"),
    ("case-twins", zipped([("archive/data.pkl", pickled(b"}")), ("archive/DATA.PKL", pickled(SYSTEM)), ("archive/version", b"3\n")]), "unsafe", "model.pt"),
    ("right-to-left-name", zipped([("archive/data.pkl", pickled(b"}")), ("archive/\u202elkp.md", pickled(SYSTEM))]), "unsafe", "model.pt"),
    ("composed-name", zipped([("archive/data.pkl", pickled(b"}")), ("archive/e\u0301.txt", pickled(SYSTEM))]), "unsafe", "model.pt"),
    ("nul-in-name", zipped([("archive/data.pkl", pickled(b"}")), ("archive/dataXpkl", pickled(SYSTEM))]).replace(b"dataXpkl", b"data\0pkl"), "unsafe", "model.pt"),
    ("second-folder", zipped([("archive/data.pkl", pickled(b"}")), ("other/data.pkl", pickled(SYSTEM)), ("archive/version", b"3\n")]), "unsafe", "model.pt"),
    ("triple", zipped([("archive/data.pkl", pickled(b"}")), ("archive/data.pkl", pickled(SYSTEM)), ("archive/data.pkl", pickled(b"}"))]), "unsafe", "model.pt"),
    ("pickle-as-storage", zipped([("archive/data.pkl", pickled(b"}")), ("archive/data/0", pickled(SYSTEM)), ("archive/version", b"3\n")]), "suspicious", "model.pt"),
    ("deep", zipped([("a.tar", tar([("b.gz", gzip.compress(zipped([("c.zip", EVIL)])), "")]))]), "unsafe", "model.zip"),
    ("empty-central", b"PK\x05\x06" + bytes(18) + pickled(SYSTEM), "suspicious", "model.pt"),
    ("zip-in-safetensors", safetensors({"a": {"dtype": "U8", "shape": [len(EVIL)], "data_offsets": [0, len(EVIL)]}}, 0) + EVIL, "suspicious", "model.safetensors"),
    ("npz-without-ending", zipped([("weights", pickled(SYSTEM))]), "unsafe", "arrays.npz"),
    ("npz-deflated", zipped([("a.npy", npy("|O", pickled(SYSTEM)))], zipfile.ZIP_DEFLATED), "unsafe", "arrays.npz"),
    ("bz2", bz2.compress(pickled(SYSTEM)), "unsafe", "model.joblib"),
    ("xz", lzma.compress(pickled(SYSTEM)), "unsafe", "model.pkl.xz"),
    ("lzma-alone", lzma.compress(pickled(SYSTEM), lzma.FORMAT_ALONE), "unsafe", "model.joblib"),
    ("zlib-in-gzip", gzip.compress(compressed(pickled(SYSTEM))), "unsafe", "model.joblib"),
    ("rar", b"Rar!\x1a\x07\x01\x00" + bytes(64), "error", "model.bin"),
]:
    single(f"evasion/archive-{name}", data, expected, file=file, family="evasions: archives")

single("evasion/numpy-structured-objects", npy("O8", b"").replace(b"'O8'", b"[('a', '|O')]", 1).replace(b" " * 9, b"", 1) + pickled(SYSTEM), "unsafe", file="array.npy", family="evasions: numpy")
single("evasion/numpy-header-code", npy("__import__('os').mkdir('pwned')", b""), "suspicious", file="array.npy", family="evasions: numpy")
WRAPPER = b"\x80\x03cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}(" + text("shape") + b"K\x01\x85" + text("dtype") + b"cnumpy\ndtype\n" + text("O8") + b"\x85Rub"
single("evasion/joblib-objects", WRAPPER + pickled(SYSTEM) + b".", "unsafe", file="model.joblib", family="evasions: numpy")


def tarred(fill) -> bytes:
    """A tar that a function fills."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        fill(archive)
    return out.getvalue()


def member(name: str, data: bytes = b"", **fields: object):
    """Adds a member with fields of its header."""

    def fill(archive: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        for key, value in fields.items():
            setattr(info, key, value)
        archive.addfile(info, io.BytesIO(data))

    return fill


for name, data, expected in [
    ("renamed-by-header", tarred(member("weights", b"x", pax_headers={"path": "../../pwned"})), "unsafe"),
    ("hard-link", tarred(member("weights", type=tarfile.LNKTYPE, linkname="/etc/passwd")), "suspicious"),
    ("device", tarred(member("weights", type=tarfile.CHRTYPE)), "suspicious"),
    ("long-name", tarred(member("a/" * 80 + "../" * 90 + "pwned", b"x")), "unsafe"),
    ("pickle", tarred(member("notes.txt", pickled(SYSTEM))), "unsafe"),
    ("below-link", tar([("a", None, "/tmp"), ("a/pwned", b"x", "")]), "unsafe"),
]:
    single(f"evasion/tar-{name}", data, expected, file="model.nemo", family="evasions: tar")


# Keras: layers and functions by other roads.

LAMBDA = {"class_name": "Lambda", "module": "keras.layers", "config": {"function": {"class_name": "__lambda__", "config": {"code": "4wEA"}}}}
for name, layer, expected in [
    ("lambda-by-source", LAMBDA | {"module": "keras.src.layers.core.lambda_layer"}, "unsafe"),
    ("lambda-registered", {"class_name": "Thing", "module": None, "registered_name": "Lambda", "config": LAMBDA["config"]}, "unsafe"),
    ("lambda-in-activation", {"class_name": "Dense", "module": "keras.layers", "config": {"activation": {"class_name": "__lambda__", "config": {"code": "4wEA"}}}}, "unsafe"),
    ("load-model", {"class_name": "function", "module": "keras.models", "config": "load_model"}, "unsafe"),
    ("saving-lib", {"class_name": "function", "module": "keras.src.saving.saving_lib", "config": "load_model"}, "unsafe"),
    ("extract", {"class_name": "function", "module": "keras.src.utils.file_utils", "config": "extract_archive"}, "unsafe"),
    ("func-load", {"class_name": "function", "module": "keras.src.utils.python_utils", "config": "func_load"}, "unsafe"),
    ("builtins", {"class_name": "exec", "module": "builtins", "config": {}}, "unsafe"),
    ("popen", {"class_name": "Popen", "module": "subprocess", "config": {"args": ["mkdir", "pwned"]}}, "unsafe"),
    ("module-look-alike", {"class_name": "Dense", "module": "keras_layers.dense", "config": {}}, "suspicious"),
    ("integer-vocabulary", {"class_name": "IntegerLookup", "module": "keras.layers", "config": {"vocabulary": "/etc/passwd"}}, "suspicious"),
    ("vectorization", {"class_name": "TextVectorization", "module": "keras.layers", "config": {"vocabulary": "http://example.org/x"}}, "suspicious"),
    ("jax-layer", {"class_name": "JaxLayer", "module": "keras.layers", "config": {"call_fn": {"class_name": "__lambda__", "config": {"code": "4wEA"}}}}, "unsafe"),
    ("callback", {"class_name": "ModelCheckpoint", "module": "keras.callbacks", "config": {"filepath": "/tmp/pwned"}}, "suspicious"),
]:
    single(f"evasion/keras-{name}", keras(model(layer)), expected, file="model.keras", family="evasions: keras")
CONFIG = json.dumps(model(LAMBDA))
for encoding in ("utf-16", "utf-32", "utf-8-sig"):
    single(
        f"evasion/keras-{encoding}",
        torch_zip(CONFIG.encode(encoding), name="config.json", more={"metadata.json": b"{}"}),
        "unsafe",
        file="model.keras",
        family="evasions: keras",
    )
single(
    "evasion/keras-duplicate",
    zipped([("config.json", CONFIG.encode()), ("metadata.json", b"{}"), ("config.json", json.dumps(model({"class_name": "Dense", "module": "keras.layers", "config": {}})).encode())]),
    "unsafe",
    file="model.keras",
    family="evasions: keras",
)
single(
    "evasion/keras-compile-config",
    keras({"class_name": "Sequential", "module": "keras", "config": {"layers": []}, "compile_config": {"loss": {"class_name": "function", "module": "os", "config": "system"}}}),
    "unsafe",
    file="model.keras",
    family="evasions: keras",
)


@sample("evasion/hdf5-training-config", "unsafe", "evasions: keras")
def training_config(folder: Path) -> str:
    """A loss that is a function of Python."""
    import h5py

    with h5py.File(folder / "model.h5", "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"layers": []}})
        file.attrs["training_config"] = json.dumps({"loss": {"class_name": "function", "module": "os", "config": "system"}})
    return "model.h5"


@sample("evasion/hdf5-deep-link", "unsafe", "evasions: keras")
def deep_link(folder: Path) -> str:
    """A link to another file, four groups down."""
    import h5py

    with h5py.File(folder / "model.h5", "w") as file:
        file.create_group("a/b/c/d")["x"] = h5py.ExternalLink("/etc/passwd", "/x")
    return "model.h5"


@sample("evasion/hdf5-user-block", "unsafe", "evasions: keras")
def user_block(folder: Path) -> str:
    """A pickle before the first byte of the file proper."""
    import h5py

    with h5py.File(folder / "model.h5", "w", userblock_size=512) as file:
        file.create_dataset("weights", data=[1.0])
    data = (folder / "model.h5").read_bytes()
    (folder / "model.h5").write_bytes(pickled(SYSTEM).ljust(512, b"\0") + data[512:])
    return "model.h5"


# Configurations.

for name, value, expected, file in [
    ("not-a-number", '{"x": NaN, "_attn_implementation_internal": "someone/kernels"}', "unsafe", "config.json"),
    ("lone-surrogate", '{"x": "\\ud800", "_attn_implementation_internal": "someone/kernels"}', "unsafe", "config.json"),
    ("escaped-key", '{"\\u005fattn_implementation_internal": "someone/kernels"}', "unsafe", "config.json"),
    ("duplicate-key", '{"_attn_implementation_internal": "eager", "_attn_implementation_internal": "someone/kernels"}', "unsafe", "config.json"),
    ("duplicate-key-first", '{"_attn_implementation_internal": "someone/kernels", "_attn_implementation_internal": "eager"}', "suspicious", "config.json"),
    ("byte-order-mark", '\ufeff{"_attn_implementation_internal": "someone/kernels"}', "unsafe", "config.json"),
    ("leading-space", "\n\n\t " * 500 + '{"_attn_implementation_internal": "someone/kernels"}', "unsafe", "config.json"),
    ("trust-text", '{"text_config": {"trust_remote_code": "yes"}}', "unsafe", "config.json"),
    ("trust-number", '{"sub": [{"trust_remote_code": 1}]}', "unsafe", "processor_config.json"),
    ("hydra-get-method", '{"_target_": "hydra.utils.get_method", "path": "os.system"}', "unsafe", "config.json"),
    ("hydra-instantiate", '{"_target_": "hydra.utils.call", "config": {"x": 1}}', "suspicious", "config.json"),
    ("hydra-import", '{"_target_": "importlib.import_module", "name": "os"}', "unsafe", "config.json"),
    ("hydra-list", '{"callbacks": [{"_target_": "torch.hub.load", "_args_": ["x"]}]}', "unsafe", "config.json"),
    ("class-path", '{"trainer": {"callbacks": [{"class_path": "subprocess.Popen", "init_args": {"args": ["mkdir", "pwned"]}}]}}', "unsafe", "config.json"),
    ("skops-numpy", '{"__class__": "run_command", "__module__": "numpy.f2py.diagnose", "__loader__": "FunctionNode"}', "unsafe", "schema.json"),
    ("skops-method", '{"__class__": "methodcaller", "__module__": "operator", "__loader__": "OperatorFuncNode"}', "unsafe", "schema.json"),
    ("modules-look-alike", '[{"type": "sentence_transformers_evil.models.X"}]', "caution", "modules.json"),
]:
    single(f"evasion/config-{name}", value.encode(), expected, file=file, family="evasions: configurations")

for name, value, expected in [
    ("anchor", "a: &x\n  _target_: os.system\nb: *x\n", "unsafe"),
    ("merge", "base: &x {_target_: os.system}\nb:\n  <<: *x\n  n: 1\n", "unsafe"),
    ("complex-key", "? _target_\n: os.system\n", "unsafe"),
    ("escaped-key", '"\\x5ftarget_": os.system\n', "unsafe"),
    ("second-document", "a: 1\n---\n_target_: os.system\n", "unsafe"),
    ("interpolated", "where: os\n_target_: ${where}.system\n", "suspicious"),
    ("python-name", "a: !!python/name:os.system\n", "unsafe"),
    ("python-module", "a: !!python/module:os\n", "unsafe"),
    ("python-new", "a: !!python/object/new:os.system [x]\n", "unsafe"),
    ("escaped-tag", "a: !<tag:yaml.org,2002:pyth%6fn/object/apply:os.system> [x]\n", "unsafe"),
    ("class-path", "trainer:\n  callbacks:\n    - class_path: os.system\n      init_args:\n        command: mkdir pwned\n", "unsafe"),
]:
    single(f"evasion/yaml-{name}", value.encode(), expected, file="config.yaml", family="evasions: yaml")
single("evasion/yaml-utf-16", "_target_: os.system\n".encode("utf-16"), "unsafe", file="config.yaml", family="evasions: yaml")


# ONNX and TensorFlow.


def constant(tensor: bytes) -> bytes:
    """A node with a tensor in an attribute."""
    return field(1, field(4, "Constant") + field(5, field(5, tensor)))


TWICE = field(2, 1) + field(8, "w") + field(13, field(1, "location") + field(2, "weights.bin")) + field(13, field(1, "location") + field(2, "../x")) + field(14, 1)
for name, data, expected in [
    ("backslash", onnx(field(5, external("..\\..\\x"))), "unsafe"),
    ("drive", onnx(field(5, external("C:x"))), "unsafe"),
    ("address", onnx(field(5, external("file:///etc/passwd"))), "unsafe"),
    ("hidden-dots", onnx(field(5, external("a/.//../../b"))), "unsafe"),
    ("in-constant", onnx(constant(external("../x"))), "unsafe"),
    ("in-list-of-graphs", onnx(field(1, field(4, "Loop") + field(5, field(11, field(5, external("../x")))))), "unsafe"),
    ("in-function", onnx(b"", field(25, field(1, "F") + field(7, field(4, "Constant") + field(5, field(5, external("../x")))))), "unsafe"),
    ("in-sparse", onnx(field(15, field(1, external("../x")))), "unsafe"),
    ("in-training", onnx(b"", field(20, field(1, field(5, external("../x"))))), "unsafe"),
    ("twice", onnx(field(5, TWICE)), "unsafe"),
    ("home", onnx(field(5, external("~/.ssh/id_rsa"))), "unsafe"),
    ("nul", onnx(field(5, external("weights\0../../x"))), "unsafe"),
    ("encoded", onnx(field(5, external("..%2f..%2fx"))), "suspicious"),
]:
    single(f"evasion/onnx-{name}", data, expected, file="model.onnx", family="evasions: onnx")

for name, data, expected, file in [
    ("frozen", field(1, node("PyFunc")) + field(4, field(1, 1987)), "unsafe", "frozen_graph.pb"),
    ("text", b'node {\n  name: "x"\n  op:"EagerPyFunc"\n}\n', "unsafe", "graph.pbtxt"),
    ("text-quotes", b"node { name: 'x' op: 'PyFunc' }\n", "unsafe", "saved_model.pbtxt"),
    ("text-escaped", b'node { name: "x" op: "Py\\x46unc" }\n', "unsafe", "saved_model.pbtxt"),
    ("dataset", saved("MatMul", "TextLineDataset"), "unsafe", "saved_model.pb"),
    ("save-of-old", saved("SaveV2", "Save"), "caution", "saved_model.pb"),
]:
    single(f"evasion/tensorflow-{name}", data, expected, file=file, family="evasions: tensorflow")


# Chat templates.

for name, template, expected in [
    ("attr-escaped", "{{ m | attr('\\x5f\\x5fclass\\x5f\\x5f') }}", "unsafe"),
    ("attr-joined", "{{ m | attr(['__', 'class', '__'] | join) }}", "unsafe"),
    ("attr-nested", "{{ m | attr('__cla' ~ ('ss' ~ '__')) }}", "unsafe"),
    ("namespace", "{% set ns = namespace(a='__cla') %}{{ m[ns.a ~ 'ss__'] }}", "suspicious"),
    ("loop", "{% set ns = namespace(s='') %}{% for c in ['__', 'class', '__'] %}{% set ns.s = ns.s + c %}{% endfor %}{{ m[ns.s] }}", "suspicious"),
    ("block-set", "{% set k %}__class__{% endset %}{{ m[k] }}", "suspicious"),
    ("macro", "{% macro k() %}__class__{% endmacro %}{{ m[k()] }}", "suspicious"),
    ("macro-globals", "{% macro a() %}{% endmacro %}{{ a.__globals__ }}", "unsafe"),
    ("loop-class", "{% for a in m %}{{ loop.__class__ }}{% endfor %}", "unsafe"),
    ("groupby", "{{ m | groupby('__class__') }}", "unsafe"),
    ("sort", "{{ m | sort(attribute='__class__') }}", "unsafe"),
    ("sum", "{{ m | sum(attribute='__class__') }}", "unsafe"),
    ("unique", "{{ m | unique(attribute='__class__') | list }}", "unsafe"),
    ("select", "{{ m | selectattr('__class__') | list }}", "unsafe"),
    ("with", "{% with a = m.__class__ %}{{ a }}{% endwith %}", "unsafe"),
    ("first", "{{ (m | first).__class__ }}", "unsafe"),
    ("format-filter", "{{ m['%c%cclass%c%c' | format(95, 95, 95, 95)] }}", "unsafe"),
    ("repeated", "{{ m['_' * 2 ~ 'class' ~ '_' * 2] }}", "unsafe"),
    ("upper", "{{ m['__CLASS__' | lower] }}", "unsafe"),
    ("dict-base", "{{ dict.__base__ }}", "unsafe"),
    ("call-block", "{% call m.__class__() %}{% endcall %}", "unsafe"),
    ("format-map", "{{ '{x.__class__}'.format_map({'x': m}) }}", "unsafe"),
    ("trailing-comment", "{{ m{# #}.__class__ }}", "suspicious"),
    ("test-argument", "{{ 1 is divisibleby(m.__class__) }}", "unsafe"),
    ("default-argument", "{% macro a(x=m.__class__) %}{{ x }}{% endmacro %}{{ a() }}", "unsafe"),
    ("conditional", "{{ m['__class__' if true else 'x'] }}", "unsafe"),
    ("whitespace-control", "{%- set x = m -%}{{- x['__cl' 'ass__'] -}}", "unsafe"),
    ("replace-chain", "{{ m['++class++'.replace('+', '_')] }}", "unsafe"),
    ("split", "{{ m['__class__,x'.split(',')[0]] }}", "unsafe"),
    # Whoever writes the message chooses the key, and not whoever made the file.
    ("message-key", "{{ m[messages[0].content] }}", "safe"),
]:
    single(f"evasion/template-{name}", template.encode(), expected, file="chat_template.jinja", family="evasions: templates")

BIG_KEY, BIG_TEXT = b"tokenizer.chat_template", b"{{ ''.__class__.__mro__ }}"
single(
    "evasion/gguf-big-endian",
    b"GGUF" + struct.pack(">IQQ", 3, 0, 1) + struct.pack(">Q", len(BIG_KEY)) + BIG_KEY + struct.pack(">I", 8) + struct.pack(">Q", len(BIG_TEXT)) + BIG_TEXT,
    "unsafe",
    file="model.gguf",
    family="evasions: templates",
)
single("evasion/gguf-zip-behind", gguf({"general.architecture": "llama"}, EVIL), "suspicious", file="model.gguf", family="evasions: templates")
document("evasion/template-processor", {"chat_template": "{{ m.__class__ }}"}, "unsafe", file="processor_config.json", family="evasions: templates")
document("evasion/template-file-of-json", {"chat_template": {"default": "{{ m['__cla' ~ 'ss__'] }}"}}, "unsafe", file="chat_template.json", family="evasions: templates")

# Programs beside weights.

for name, data, expected, file in [
    ("path-file", b"import os; os.mkdir('pwned')\n", "suspicious", "model.pth"),
    ("script-spaced", b"torch.zeros(1)\nx = torch.from_file ('/etc/passwd')\n", "caution", "code.py"),
    ("java-class", b"\xca\xfe\xba\xbe\x00\x00\x00\x34" + bytes(32), "caution", "model.class"),
    ("windows", b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0" + bytes(64), "suspicious", "model.bin"),
    ("mach-o", b"\xcf\xfa\xed\xfe" + bytes(64), "suspicious", "weights.bin"),
    ("wasm", b"\0asm\x01\0\0\0" + bytes(16), "caution", "model.wasm"),
]:
    single(f"evasion/program-{name}", data, expected, file=file, family="evasions: programs")
single(
    "evasion/torchscript-spaced",
    torch_zip(b"\x80\x02).", name="m/constants.pkl", more={"m/data.pkl": b"\x80\x02c__torch__\nNet\n)\x81}b.", "m/code/__torch__.py": b"  x = torch.from_file ('/etc/passwd')\n"}),
    "unsafe",
    file="model.pt",
    family="evasions: programs",
)
single(
    "evasion/torchscript-constants",
    torch_zip(pickled(SYSTEM), name="m/constants.pkl", more={"m/data.pkl": b"\x80\x02}.", "m/code/__torch__.py": b"  pass\n"}),
    "unsafe",
    file="model.pt",
    family="evasions: programs",
)
