//! Names that are known to act, for better words only: what is not here is not safe.

use super::super::verdict::Severity;

/// What a known name does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::scan) struct Danger {
    /// A sentence fragment: "runs any command".
    pub(in crate::scan) effect: &'static str,
    /// How grave it is.
    pub(in crate::scan) severity: Severity,
}

const COMMAND: &str = "runs any command of the system";
const PYTHON: &str = "runs any Python code";
const LOOKUP: &str = "finds any function by a text, and so calls anything";
const UNPICKLE: &str = "loads another pickle, which can run anything";
const NETWORK: &str = "speaks to the network";
const FILES: &str = "reads or writes files";
const NATIVE: &str = "loads native code or reaches into memory";
const CODE: &str = "makes functions out of bytes of code";
const PROCESS: &str = "acts on this process";
const INSTALL: &str = "installs packages, and runs what they bring along";
const CHAIN: &str = "calls whatever it is given";
const LIBRARY: &str = "is of a part of a library that runs programs or reads files";

/// Module, and names in it; a module counts with everything below it, and no names are all names.
const MODULES: &[(&str, &[&str], &str)] = &[
    ("os", &[], COMMAND),
    ("posix", &[], COMMAND),
    ("nt", &[], COMMAND),
    ("subprocess", &[], COMMAND),
    ("_posixsubprocess", &[], COMMAND),
    ("pty", &[], COMMAND),
    ("commands", &[], COMMAND),
    ("popen2", &[], COMMAND),
    ("platform", &[], COMMAND),
    ("_osx_support", &[], COMMAND),
    ("_aix_support", &[], COMMAND),
    ("_pyrepl", &[], COMMAND),
    ("pydoc", &[], COMMAND),
    ("distutils", &[], COMMAND),
    ("webbrowser", &[], COMMAND),
    ("builtins", &["eval", "exec", "compile", "__import__", "execfile", "breakpoint", "__build_class__"], PYTHON),
    ("builtins", &["open", "input", "raw_input", "file"], FILES),
    (
        "builtins",
        &["getattr", "setattr", "delattr", "globals", "locals", "vars", "dir", "hasattr", "type", "super", "property"],
        LOOKUP,
    ),
    ("builtins", &["map", "filter", "apply", "reduce", "iter", "classmethod", "staticmethod"], CHAIN),
    ("builtins", &["exit", "quit", "help", "copyright", "credits", "license"], PROCESS),
    ("_sitebuiltins", &[], PROCESS),
    ("code", &[], PYTHON),
    ("codeop", &[], PYTHON),
    ("runpy", &[], PYTHON),
    ("timeit", &[], PYTHON),
    ("trace", &[], PYTHON),
    ("profile", &[], PYTHON),
    ("cProfile", &[], PYTHON),
    ("pdb", &[], PYTHON),
    ("bdb", &[], PYTHON),
    ("doctest", &[], PYTHON),
    ("unittest", &[], PYTHON),
    ("test", &[], PYTHON),
    ("idlelib", &[], PYTHON),
    ("lib2to3", &[], PYTHON),
    ("turtledemo", &[], PYTHON),
    ("antigravity", &[], NETWORK),
    ("this", &[], PROCESS),
    ("sympy", &["sympify", "parse_expr", "lambdify"], PYTHON),
    ("sympy.core.sympify", &[], PYTHON),
    ("sympy.parsing", &[], PYTHON),
    ("importlib", &[], LOOKUP),
    ("imp", &[], PYTHON),
    ("_imp", &[], PYTHON),
    ("_frozen_importlib", &[], LOOKUP),
    ("_frozen_importlib_external", &[], LOOKUP),
    ("zipimport", &[], PYTHON),
    ("pkgutil", &[], LOOKUP),
    ("sys", &[], PROCESS),
    ("inspect", &[], LOOKUP),
    ("gc", &[], LOOKUP),
    ("site", &[], PYTHON),
    ("operator", &[], LOOKUP),
    ("_operator", &[], LOOKUP),
    ("functools", &[], CHAIN),
    ("_functools", &[], CHAIN),
    ("itertools", &[], CHAIN),
    ("types", &["FunctionType", "LambdaType", "CodeType", "MethodType", "ModuleType", "new_class"], CODE),
    ("marshal", &[], CODE),
    ("cloudpickle", &[], CODE),
    ("dill", &[], CODE),
    ("pickle", &[], UNPICKLE),
    ("_pickle", &[], UNPICKLE),
    ("_compat_pickle", &[], UNPICKLE),
    ("shelve", &[], UNPICKLE),
    ("joblib", &[], UNPICKLE),
    ("jsonpickle", &[], UNPICKLE),
    ("yaml", &[], UNPICKLE),
    ("torch", &["load", "hub", "jit", "compile"], UNPICKLE),
    ("torch.serialization", &["load"], UNPICKLE),
    ("pandas", &["read_pickle", "eval"], UNPICKLE),
    ("pandas.io", &[], UNPICKLE),
    (
        "numpy",
        &["load", "fromfile", "save", "savez", "savetxt", "loadtxt", "genfromtxt", "memmap", "DataSource"],
        FILES,
    ),
    ("numpy.lib", &[], FILES),
    ("numpy.f2py", &[], COMMAND),
    ("numpy.testing", &[], PYTHON),
    ("numpy.distutils", &[], COMMAND),
    ("numpy.ctypeslib", &[], NATIVE),
    ("copyreg", &["add_extension", "pickle", "constructor"], PROCESS),
    ("ctypes", &[], NATIVE),
    ("_ctypes", &[], NATIVE),
    ("cffi", &[], NATIVE),
    ("mmap", &[], NATIVE),
    ("faulthandler", &[], NATIVE),
    ("venv", &[], INSTALL),
    ("ensurepip", &[], INSTALL),
    ("pip", &[], INSTALL),
    ("setuptools", &[], INSTALL),
    ("socket", &[], NETWORK),
    ("_socket", &[], NETWORK),
    ("ssl", &[], NETWORK),
    ("_ssl", &[], NETWORK),
    ("http", &[], NETWORK),
    ("urllib", &[], NETWORK),
    ("urllib3", &[], NETWORK),
    ("requests", &[], NETWORK),
    ("httpx", &[], NETWORK),
    ("aiohttp", &[], NETWORK),
    ("httplib", &[], NETWORK),
    ("ftplib", &[], NETWORK),
    ("smtplib", &[], NETWORK),
    ("imaplib", &[], NETWORK),
    ("poplib", &[], NETWORK),
    ("nntplib", &[], NETWORK),
    ("telnetlib", &[], NETWORK),
    ("xmlrpc", &[], NETWORK),
    ("socketserver", &[], NETWORK),
    ("wsgiref", &[], NETWORK),
    ("cgi", &[], NETWORK),
    ("asyncio", &[], COMMAND),
    ("multiprocessing", &[], COMMAND),
    ("concurrent", &[], CHAIN),
    ("threading", &[], CHAIN),
    ("_thread", &[], CHAIN),
    ("sched", &[], CHAIN),
    ("signal", &[], PROCESS),
    ("atexit", &[], CHAIN),
    ("weakref", &[], CHAIN),
    ("contextlib", &[], CHAIN),
    ("tempfile", &[], FILES),
    ("shutil", &[], FILES),
    ("fileinput", &[], FILES),
    ("glob", &[], FILES),
    ("linecache", &[], FILES),
    ("tarfile", &[], FILES),
    ("zipfile", &[], FILES),
    ("gzip", &[], FILES),
    ("bz2", &[], FILES),
    ("lzma", &[], FILES),
    ("dbm", &[], FILES),
    ("sqlite3", &[], FILES),
    ("_sqlite3", &[], FILES),
    ("io", &["open", "FileIO", "open_code"], FILES),
    ("_io", &["open", "FileIO", "open_code"], FILES),
    ("codecs", &["open", "lookup"], FILES),
    ("logging", &["config", "handlers", "FileHandler", "basicConfig"], FILES),
    ("logging.config", &[], LOOKUP),
    ("logging.handlers", &[], NETWORK),
    ("uuid", &["_get_command_stdout", "_popen", "_ifconfig_getter", "_ip_getter", "_arp_getter"], COMMAND),
    ("tkinter", &[], PYTHON),
    ("torch.hub", &[], NETWORK),
    ("torch.jit", &[], LIBRARY),
    ("torch._dynamo", &[], LIBRARY),
    ("torch._inductor", &[], LIBRARY),
    ("torch._ops", &[], LIBRARY),
    ("torch._C", &["_jit_script_compile"], LIBRARY),
    ("torch.utils", &[], LIBRARY),
    ("torch.fx", &[], LIBRARY),
    ("torch.distributed.rpc", &[], LIBRARY),
    ("torch.distributed.elastic", &[], LIBRARY),
    ("torch.distributed.run", &[], LIBRARY),
    ("torch.testing", &[], LIBRARY),
    ("torch.package", &[], LIBRARY),
    ("torch.ops", &[], NATIVE),
    ("torch.classes", &[], NATIVE),
    ("transformers.dynamic_module_utils", &[], PYTHON),
    ("transformers.utils.hub", &[], NETWORK),
    ("huggingface_hub", &[], NETWORK),
    ("hydra.utils", &["get_method", "get_class", "get_object", "get_static_method", "call", "instantiate"], LOOKUP),
    ("hydra._internal.utils", &[], LOOKUP),
    ("hydra._internal.instantiate", &[], LOOKUP),
    ("keras.utils", &["get_file"], NETWORK),
    ("keras.src.utils.file_utils", &[], NETWORK),
    ("tensorflow", &["io", "load_op_library", "load_library", "py_function", "numpy_function"], FILES),
    ("tensorflow.io", &[], FILES),
    ("tensorflow.python.lib.io", &[], FILES),
    ("tensorflow.python.framework.load_library", &[], NATIVE),
    ("IPython", &[], PYTHON),
    ("pexpect", &[], COMMAND),
    ("sh", &[], COMMAND),
    ("fabric", &[], COMMAND),
    ("paramiko", &[], NETWORK),
    ("pwn", &[], COMMAND),
];

/// What the name is known to do.
pub(in crate::scan) fn danger(module: &str, name: &str) -> Option<Danger> {
    let effect = effect(module, name)?;
    let severity = match effect {
        FILES | NETWORK | PROCESS => Severity::High,
        _ => Severity::Critical,
    };
    Some(Danger { effect, severity })
}

fn effect(module: &str, name: &str) -> Option<&'static str> {
    let first = name.split('.').next().unwrap_or(name);
    let fits = |&&(known, names, _): &&(&str, &[&str], &str)| match names {
        [] => module.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')),
        names => {
            let below = module.strip_prefix(known).and_then(|rest| rest.strip_prefix('.'));
            let below = below.map(|rest| rest.split('.').next().unwrap_or(rest));
            (module == known && names.contains(&first)) || below.is_some_and(|part| names.contains(&part))
        }
    };
    MODULES.iter().filter(fits).max_by_key(|entry| entry.0.len()).map(|entry| entry.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_known_with_everything_below_them() {
        for (module, name, effect) in [
            ("os", "system", COMMAND),
            ("os.path", "join", COMMAND),
            ("builtins", "eval", PYTHON),
            ("builtins", "getattr.__call__", LOOKUP),
            ("torch.hub", "load", NETWORK),
            ("torch", "hub.load", UNPICKLE),
            ("torch.utils.bottleneck.__main__", "run_cprofile", LIBRARY),
            ("numpy.f2py.crackfortran", "getlincoef", COMMAND),
            ("logging", "config.dictConfig", FILES),
        ] {
            assert_eq!(danger(module, name).map(|danger| danger.effect), Some(effect), "{module}.{name}");
        }
        for (module, name) in [("osmium", "x"), ("builtins", "list"), ("torch", "device"), ("codecs", "encode")] {
            assert_eq!(danger(module, name), None, "{module}.{name}");
        }
    }
}
