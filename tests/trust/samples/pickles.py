"""Pickles: names that lists of bad names lack, and programs that fool readers."""

import base64
import json
import struct

from samples.build import PAYLOAD, STOP, SYSTEM, call, compressed, document, glob, npy, pickled, single, text, torch_zip

NAMES = {
    "CVE-2025-1716": "pip.main",
    "GHSA-vvpj-8cmc-gx39": "pkgutil.resolve_name",
    "CVE-2026-56315": "uuid._get_command_stdout imaplib.IMAP4_stream _osx_support._read_output "
    "_aix_support._read_cmd_output _pyrepl.pager.pipe_pager test.support.script_helper.assert_python_ok",
    "GHSA-xp4f-hrf8-rxw7": "ensurepip._run_pip",
    "GHSA-7wx9-6375-f5wh": "profile.run profile.runctx",
    "torch family": "torch._dynamo.guards:GuardBuilder.get torch.utils._config_module:ConfigModule.load_config "
    "torch.utils.bottleneck.__main__.run_cprofile torch.utils.collect_env.run torch.jit.unsupported_tensor_ops.execWrapper "
    "torch.fx.experimental.symbolic_shapes:ShapeEnv.evaluate_guards_expression torch.utils.data.datapipes.utils.decoder.basichandlers "
    "torch._inductor.codecache.compile_file torch.hub.load torch.load torch.distributed.rpc.rpc_sync torch.serialization.load",
    "GHSA-m273-6v24-x4m4": "numpy.f2py.crackfortran.getlincoef numpy.f2py.diagnose.run_command numpy.testing._private.utils.runstring "
    "numpy.load numpy.fromfile numpy.ctypeslib.load_library",
    "python family": "cProfile.runctx cProfile.run timeit.timeit trace:Trace.run doctest.debug_script "
    "idlelib.pyshell:ModifiedInterpreter.runcommand idlelib.autocomplete:AutoComplete.get_entity "
    "lib2to3.pgen2.pgen:ParserGenerator.make_label code:InteractiveInterpreter.runcode codeop.compile_command "
    "runpy.run_path runpy._run_code pdb.run bdb:Bdb.run unittest.main",
    "CVE-2026-56304": "logging.FileHandler logging.config.dictConfig logging.handlers.SocketHandler",
    "CVE-2025-67747": "marshal.loads types.FunctionType",
    "CVE-2026-22606": "runpy.run_module",
    "CVE-2026-22607": "cProfile.Profile",
    "CVE-2026-22608": "pydoc.pipepager pydoc.locate",
    "CVE-2026-22609": "pty.spawn",
    "CVE-2026-22612": "ctypes.CDLL ctypes:LibraryLoader",
    "GHSA-6ggj-6f2q-f7mx": "_posixsubprocess.fork_exec _io.FileIO _ctypes.dlopen",
    "commands": "os.system posix.system nt.system os.popen os.execv subprocess.Popen subprocess.check_output commands.getoutput "
    "platform.popen webbrowser.open asyncio.create_subprocess_shell multiprocessing.Process distutils.spawn.spawn",
    "builtins": "builtins.eval builtins.exec builtins.compile builtins.__import__ builtins.open builtins.getattr builtins.setattr "
    "__builtin__.eval __builtin__.apply",
    "lookup": "importlib.import_module operator.attrgetter operator.methodcaller functools.reduce functools.partial itertools.accumulate",
    "network": "socket.create_connection urllib.request.urlopen http.client.HTTPSConnection requests.get smtplib.SMTP ftplib.FTP "
    "xmlrpc.client.ServerProxy",
    "files": "shutil.rmtree tempfile.mktemp io.open glob.glob linecache.getline fileinput.input sqlite3.connect codecs.open",
    "loaders": "pickle.loads _pickle.loads dill.loads cloudpickle.loads joblib.load yaml.unsafe_load pandas.read_pickle",
    "libraries": "transformers.dynamic_module_utils.get_class_from_dynamic_module keras.utils.get_file tensorflow.io.read_file",
}
"""Functions by family; a colon stands before a dotted name."""


def names() -> None:
    """A call of each name."""
    for family, words in NAMES.items():
        for word in words.split():
            module, _, name = word.partition(":") if ":" in word else word.rpartition(".")
            protocol = b"\x80\x02" if module in ("commands", "__builtin__") else b"\x80\x04"
            lookup = f"c{module}\n{name}\n".encode() if protocol == b"\x80\x02" else glob(module, name)
            body = protocol + lookup + b"(" + text(PAYLOAD) + b"tR" + STOP
            single(f"pickle/name-{module}.{name}", body, "unsafe", file="model.pkl", family=family)


names()

for own in ("__main__.Net", "some_package.some_module.load", "torch.nn.modules.linear.forward", "sklearn.utils.parse_version"):
    module, _, name = own.rpartition(".")
    single(f"pickle/unknown-{own}", pickled(call(module, name, text("x"))), "suspicious", file="model.pkl", family="unknown names")


def program(name: str, data: bytes, expected: str = "unsafe", family: str = "") -> None:
    """A pickle by itself."""
    single(f"pickle/{name}", data, expected, file="model.pkl", family=family)


program("protocol-0", b"cos\nsystem\n(S'mkdir pwned'\ntR.", family="commands")
program("inst", b"(S'mkdir pwned'\nios\nsystem\n.", family="commands")
program("obj-pop", b"\x80\x04(" + glob("os", "system") + text(PAYLOAD) + b"o0N.", family="OBJ and POP")
program("newobj-ex", b"\x80\x04" + glob("os", "system") + b"(" + text(PAYLOAD) + b"t}\x92.", family="commands")
program("build-after", b"\x80\x04" + SYSTEM + b"}b.", family="GHSA-mhc9-48gj-9gp3")
program("build-class", b"\x80\x02ccollections\nOrderedDict\n}" + text("__reduce__") + text("x") + b"sb.", family="GHSA-mhc9-48gj-9gp3")
program("broken-after-call", b"\x80\x04" + SYSTEM + b"\xff\xff", family="GHSA-9gvj-pp9x-gcfr")
program("no-stop", b"\x80\x04" + SYSTEM, family="GHSA-9gvj-pp9x-gcfr")
program("dotted-global", pickled(call("os", "path.os.system", text(PAYLOAD))), family="GHSA-5j3x-jp52-966f")
program("dotted-of-allowed", pickled(call("collections", "OrderedDict.__init__.__globals__", text("x"))), family="GHSA-5j3x-jp52-966f")
program("memo-confusion", b"\x80\x04" + text("collections") + b"q\x00" + text("os") + b"q\x000" + b"0h\x00" + text("system") + b"\x93(" + text(PAYLOAD) + b"tR.", family="memo index")
program("memo-type", b"\x80\x04}q\x00" + text("os") + b"r\x00\x00\x00\x000" + b"0h\x00" + text("system") + b"\x93(" + text(PAYLOAD) + b"tR.", family="memo type")
program("computed-name", b"\x80\x04" + call("_codecs", "encode", text("os"), text("latin1")) + text("system") + b"\x93.", family="computed names")
program("extension-code", b"\x80\x02\x82\x01(" + text("x") + b"tR.", family="extension registry")
program("frame-divergence", b"\x80\x04\x95\x04\x00\x00\x00\x00\x00\x00\x00" + SYSTEM + b".", family="frame boundary")
program("magic-by-eval", b"\x80\x02c__builtin__\neval\n(" + text("0x1950a86a20f9469cfc6c") + b"tR.", family="magic number by eval")
program("second-pickle", pickled(b"N") + pickled(SYSTEM), family="pickles after each other")
program("trailing-program", pickled(b"N") + b"#!/bin/sh\nmkdir pwned\n", "suspicious", family="trailing data")
program("cloudpickle", b"\x80\x04" + call("cloudpickle.cloudpickle", "subimport", text("os")) + b".", family="cloudpickle")
program("cloudpickle-code", b"\x80\x04" + call("cloudpickle.cloudpickle", "_builtin_type", text("CodeType")) + b"(" + text("x") + b"tR.", "suspicious", family="cloudpickle")
program("partial", pickled(call("functools", "partial", glob("os", "system"), text(PAYLOAD))), family="functools.partial")
program("setitem-on-tensor", b"\x80\x02ctorch\nFloatTensor\n)R" + text("a") + b"K\x01s.", family="CVE-2026-24747")
program("loads", pickled(call("_pickle", "loads", b"C" + bytes([len(pickled(SYSTEM))]) + pickled(SYSTEM))), family="loaders")
program(
    "load-from-bytes",
    pickled(call("torch.storage", "_load_from_bytes", b"C" + bytes([len(pickled(SYSTEM))]) + pickled(SYSTEM))),
    family="loaders",
)
program("profile-run", pickled(call("profile", "run", text("import os; os.mkdir('pwned')"))), family="GHSA-7wx9-6375-f5wh")

INNER = b"B" + struct.pack("<I", len(pickled(SYSTEM))) + pickled(SYSTEM)
STREAM = call("_io", "BytesIO", INNER)
# Unpicklers of pure Python, which hooks on those of C do not see.
program("loads-of-python", pickled(call("pickle", "_loads", INNER)), family="GHSA-fphw-536r-4p88")
program("load-of-python", pickled(call("pickle", "_load", STREAM)), family="GHSA-fphw-536r-4p88")
program(
    "unpickler-of-python",
    pickled(call("pickle", "_Unpickler.load", call("pickle", "_Unpickler", STREAM))),
    family="GHSA-fphw-536r-4p88",
)

program("codec", pickled(call("_codecs", "encode", text("x"), text("rot13"))), "suspicious", family="arguments")

WRAPPER = (
    b"\x80\x03cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}(" + text("shape") + b"K%c\x85" + text("dtype") + b"cnumpy\ndtype\n" + text("u1") + b"\x85Rub"
)
HIDDEN = b"0cos\nsystem\n(S'mkdir pwned'\ntR"
single("joblib/array-that-is-a-program", WRAPPER.replace(b"%c", bytes([len(HIDDEN)])) + HIDDEN + STOP, "unsafe", file="model.joblib", family="CVE-2024-34997")
single("joblib/zlib", compressed(pickled(SYSTEM)), "unsafe", file="model.joblib", family="CVE-2024-34997")
single("numpy/objects", npy("|O", pickled(SYSTEM)), "unsafe", file="array.npy", family="object arrays")
single("numpy/pickle-named-npy", pickled(SYSTEM), "unsafe", file="array.npy", family="object arrays")
single("numpy/npz", torch_zip(npy("|O", pickled(SYSTEM)), name="arr_0.npy"), "unsafe", file="arrays.npz", family="object arrays")

SETTINGS = {"policy_class": {":type:": "<class 'abc.ABCMeta'>", ":serialized:": base64.b64encode(pickled(SYSTEM)).decode()}}
single(
    "stable-baselines3/settings",
    torch_zip(json.dumps(SETTINGS).encode(), name="data", more={"_stable_baselines3_version": b"2.9.2"}),
    "unsafe",
    file="policy.zip",
    family="base64",
)
document("stable-baselines3/settings-alone", SETTINGS, "unsafe", file="data.json", family="base64")
