use super::made::{calls, dict, tensor, torch};
use super::*;

#[test]
fn a_state_dict_is_safe() {
    let bytes = torch(&dict(&[("a", tensor("0", 2)), ("b", tensor("1", 1))]), &[("0", &[0; 8]), ("1", &[0; 4])]);
    let scan = scanned("m.pt", bytes);
    assert_eq!((scan.verdict, scan.findings), (Verdict::Safe, vec![]));
    assert_eq!(scan.formats, ["torch", "zip"]);
}

#[test]
fn names_that_no_list_of_bad_ones_has_are_not_safe() {
    for (module, name) in [
        ("pip", "main"),
        ("pkgutil", "resolve_name"),
        ("uuid", "_get_command_stdout"),
        ("imaplib", "IMAP4_stream"),
        ("_osx_support", "_read_output"),
        ("_aix_support", "_read_cmd_output"),
        ("_pyrepl.pager", "pipe_pager"),
        ("test.support.script_helper", "assert_python_ok"),
        ("ensurepip", "_run_pip"),
        ("torch._dynamo.guards", "GuardBuilder.get"),
        ("torch.utils.bottleneck.__main__", "run_cprofile"),
        ("torch.utils.collect_env", "run"),
        ("torch.fx.experimental.symbolic_shapes", "ShapeEnv.evaluate_guards_expression"),
        ("torch.utils._config_module", "ConfigModule.load_config"),
        ("torch.utils.data.datapipes.utils.decoder", "basichandlers"),
        ("numpy.f2py.crackfortran", "getlincoef"),
        ("cProfile", "runctx"),
        ("timeit", "timeit"),
        ("idlelib.pyshell", "ModifiedInterpreter.runcommand"),
        ("lib2to3.pgen2.pgen", "ParserGenerator.make_label"),
        ("doctest", "debug_script"),
        ("logging", "FileHandler"),
        ("logging.config", "dictConfig"),
        ("functools", "reduce"),
        ("types", "CodeType"),
        ("marshal", "loads"),
        ("runpy", "run_path"),
        ("pty", "spawn"),
        ("ctypes", "CDLL"),
        ("pydoc", "pipepager"),
        ("asyncio.unix_events", "_UnixSubprocessTransport._start"),
        ("builtins", "eval"),
        ("os", "system"),
        ("webbrowser", "open"),
        ("operator", "attrgetter"),
        ("builtins", "getattr"),
        ("torch", "load"),
        ("torch.hub", "load"),
        ("transformers.dynamic_module_utils", "get_class_from_dynamic_module"),
    ] {
        assert_eq!(verdict("m.pkl", calls(module, name)), Verdict::Unsafe, "{module}.{name}");
    }
    for (module, name) in [
        ("__main__", "Net"),
        ("some_package.module", "function"),
        ("sklearn.utils", "parse"),
        ("torch.nn.modules.linear", "load"),
    ] {
        assert_eq!(verdict("m.pkl", calls(module, name)), Verdict::Suspicious, "{module}.{name}");
    }
}

#[test]
fn python_2_names_are_what_they_become() {
    assert_eq!(verdict("m.pkl", *b"ccommands\ngetoutput\n(S'id'\ntR."), Verdict::Unsafe);
    assert_eq!(verdict("m.pkl", *b"c__builtin__\neval\n(S'1'\ntR."), Verdict::Unsafe);
    assert_eq!(verdict("m.pkl", *b"c__builtin__\nset\n((lp0\ntR."), Verdict::Safe);
}

#[test]
fn every_way_to_call_counts() {
    for bytes in [
        &b"(S'id'\nios\nsystem\n."[..],
        b"(cos\nsystem\nS'id'\no.",
        b"cos\nsystem\n(S'id'\nt\x81.",
        b"\x80\x04cos\nsystem\n(X\x02\0\0\0idt}\x92.",
        // The result is dropped, and the value that is left is plain.
        b"(cos\nsystem\nS'id'\no0N.",
        b"cos\nsystem\n(S'id'\ntR0N.",
        // Hidden behind a state that is set afterwards.
        b"cos\nsystem\n(S'id'\ntR}b.",
        // From the memo, where another value lay before.
        b"Np0\n0cos\nsystem\np0\n0g0\n(S'id'\ntR.",
    ] {
        assert_eq!(verdict("m.pkl", bytes), Verdict::Unsafe, "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_stream_that_breaks_after_a_call_has_called() {
    let scan = scanned("m.pkl", *b"cos\nsystem\n(S'id'\ntR\xff\xff");
    assert_eq!(scan.verdict, Verdict::Unsafe);
    assert_eq!(broken(&scan), ["pickle-dangerous", "pickle-broken"]);
    assert_eq!(verdict("m.pkl", *b"\x80\x04}\x8c\x01a"), Verdict::Error);
}

#[test]
fn uses_matter_as_much_as_names() {
    for (bytes, expected) in [
        (&b"\x80\x02c_codecs\nencode\nX\x01\0\0\0aX\x06\0\0\0latin1\x86R."[..], Verdict::Safe),
        (b"\x80\x02c_codecs\nencode\nX\x01\0\0\0aX\x05\0\0\0rot13\x86R.", Verdict::Suspicious),
        // Attributes of a class are set.
        (b"\x80\x02ccollections\nOrderedDict\n}X\x01\0\0\0aK\x01sb.", Verdict::Unsafe),
        // Items are added to what is no container.
        (b"\x80\x02cuuid\nUUID\n)\x81X\x01\0\0\0aK\x01s.", Verdict::Unsafe),
        // An instance of a class has a state that is no dictionary.
        (b"\x80\x02cuuid\nUUID\n)\x81K\x01b.", Verdict::Suspicious),
        (b"\x80\x02cuuid\nUUID\n)\x81}X\x03\0\0\0intK\x01sb.", Verdict::Safe),
        // The state is set twice.
        (b"\x80\x02cuuid\nUUID\n)\x81K\x01b}b.", Verdict::Suspicious),
        (b"\x80\x02ccopy_reg\n_reconstructor\ntorch\n", Verdict::Error),
        (
            b"\x80\x02ccopy_reg\n_reconstructor\n(ctorch.nn.modules.linear\nLinear\nc__builtin__\nobject\nNtR.",
            Verdict::Safe,
        ),
        (b"\x80\x02ccopy_reg\n_reconstructor\n(Kc__builtin__\nobject\nNtR.", Verdict::Error),
        (b"\x80\x02cfunctools\npartial\nctransformers.optimization\n_get_linear_lambda\n\x85R.", Verdict::Safe),
        (b"\x80\x02cfunctools\npartial\nc_codecs\nencode\n\x85R.", Verdict::Unsafe),
        // A member of an enum, and a method that is then called.
        (
            b"\x80\x02c__builtin__\ngetattr\nctransformers.trainer_utils\nIntervalStrategy\nX\x02\0\0\0NO\x86R.",
            Verdict::Safe,
        ),
        (
            b"\x80\x02c__builtin__\ngetattr\nctransformers.trainer_utils\nIntervalStrategy\nX\x07\0\0\0__mro__\x86R.",
            Verdict::Unsafe,
        ),
        (
            b"\x80\x02c__builtin__\ngetattr\nctransformers.trainer_utils\nIntervalStrategy\nX\x02\0\0\0NO\x86R)R.",
            Verdict::Unsafe,
        ),
        // Types of torch that are made by a function.
        (b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(c_codecs\nencode\nctorch\nTensor\n)NtR.", Verdict::Unsafe),
        (
            b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_v2\nctorch\nTensor\n)}tR.",
            Verdict::Safe,
        ),
        (b"\x80\x02c__builtin__\nbytearray\n\x8a\x05\0\0\0\0\x7f\x85R.", Verdict::Suspicious),
        // Names out of the extension registry, and names that are computed.
        (b"\x80\x02\x82\x01)R.", Verdict::Unsafe),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x8c\x01a\x85\x93.", Verdict::Unsafe),
    ] {
        let scan = scanned("m.pkl", bytes);
        assert_eq!(scan.verdict, expected, "{}: {:#?}", bytes.escape_ascii(), scan.findings);
    }
}

#[test]
fn pickles_in_pickles_are_judged() {
    let inner = b"cos\nsystem\n(S'id'\ntR.";
    let mut outer = b"\x80\x03ctorch.storage\n_load_from_bytes\nC".to_vec();
    outer.push(inner.len() as u8);
    outer.extend(inner);
    outer.extend(b"\x85R.");
    let scan = scanned("m.pkl", outer);
    assert_eq!(scan.verdict, Verdict::Unsafe);
    assert_eq!(scan.findings[0].member.as_deref(), Some("loaded bytes"));
    let plain = torch(&dict(&[]), &[]);
    let mut outer = b"\x80\x03ctorch.storage\n_load_from_bytes\nB".to_vec();
    outer.extend((plain.len() as u32).to_le_bytes());
    outer.extend(plain);
    outer.extend(b"\x85R.");
    let scan = scanned("m.pkl", outer);
    assert_eq!((scan.verdict, broken(&scan)), (Verdict::Caution, vec!["pickle-loader"]));
    // What is loaded is computed.
    assert_eq!(
        verdict("m.pkl", *b"\x80\x03ctorch.storage\n_load_from_bytes\nccollections\nOrderedDict\n)R\x85R."),
        Verdict::Unsafe
    );
}

#[test]
fn what_joblib_takes_for_an_array_is_a_program_for_others() {
    // The wrapper of an array of bytes: joblib steps over what everyone else runs.
    let wrapper = |len: u8, more: &[u8]| {
        let mut out = b"\x80\x03cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}(X\x05\0\0\0shapeK".to_vec();
        out.push(len);
        out.extend(b"\x85X\x05\0\0\0dtypecnumpy\ndtype\nX\x02\0\0\0u1\x85Rub");
        out.extend(more);
        out.push(b'.');
        out
    };
    let hidden = b"0cos\nsystem\n(S'id'\ntR";
    assert_eq!(verdict("m.joblib", wrapper(hidden.len() as u8, hidden)), Verdict::Unsafe);
    assert_eq!(verdict("m.joblib", wrapper(4, &[0xff, 0xfe, 0xfd, 0xfc])), Verdict::Safe);
}

#[test]
fn storages_are_compared_with_what_the_pickle_says() {
    let pickle = dict(&[("a", tensor("0", 2))]);
    let rules = |storages: &[(&str, &[u8])]| {
        let scan = scanned("m.pt", torch(&pickle, storages));
        (scan.verdict, broken(&scan).join(" "))
    };
    assert_eq!(rules(&[("0", &[0; 8])]).0, Verdict::Safe);
    assert_eq!(rules(&[("0", &[0; 4])]), (Verdict::Suspicious, "storage-size".into()));
    assert_eq!(rules(&[]), (Verdict::Error, "storage-missing".into()));
    assert_eq!(rules(&[("0", &[0; 8]), ("evil", b"x")]), (Verdict::Suspicious, "storage-unused".into()));
    assert_eq!(rules(&[("0", b"\x7fELF\x02\x01\x01\0")]).0, Verdict::Suspicious);
}

#[test]
fn old_torch_files_have_plain_heads_and_nothing_behind_their_storages() {
    let legacy = |head: &[u8], tail: &[u8]| {
        let mut out = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.".to_vec();
        out.extend(head);
        out.extend(b"\x80\x02}X\x01\0\0\0a");
        out.extend(tensor("0", 2));
        out.extend(b"s.\x80\x02]X\x01\0\0\x000a.");
        out.extend(2u64.to_le_bytes());
        out.extend([0; 8]);
        out.extend(tail);
        out
    };
    let info = b"\x80\x02}X\x0d\0\0\0little_endian\x88s.";
    let good = scanned("m.bin", legacy(info, b""));
    assert_eq!((good.verdict, good.findings), (Verdict::Safe, vec![]));
    assert!(good.formats.contains(&"torch-legacy".into()));
    assert_eq!(broken(&scanned("m.bin", legacy(info, b"more"))), ["trailing-data"]);
    let odd = scanned("m.bin", legacy(b"\x80\x02ccollections\nOrderedDict\n)R.", b""));
    assert_eq!((odd.verdict, broken(&odd)), (Verdict::Suspicious, vec!["legacy-header"]));
}

#[test]
fn libraries_are_named_once() {
    let bytes = b"\x80\x02csklearn.svm._classes\nSVC\n)\x81}bcsklearn.pipeline\nPipeline\n)\x81}b\x86.";
    let scan = scanned("m.pkl", *bytes);
    assert_eq!((scan.verdict, broken(&scan)), (Verdict::Caution, vec!["pickle-library-class"]));
    assert!(scan.findings[0].detail.contains("scikit-learn"));
}
