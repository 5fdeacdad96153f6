use super::*;

fn find(flags: Flags, variables: &[(&str, &str)]) -> anyhow::Result<Settings> {
    let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
    Settings::find_with(flags, ServerFlags::default(), &variable)
}

#[test]
fn a_flag_beats_a_variable_beats_the_file_beats_the_default() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "data = \"/file\"\nlog = \"debug\"\ndrain_timeout_s = 5\nmax_commit_bytes = \"1GiB\"\n")
        .unwrap();
    let flags = Flags { config: Some(file.path().into()), data: Some("/flag".into()), ..Flags::default() };
    let settings = find(flags, &[("WH_DATA", "/variable"), ("WH_LOG", "warn")]).unwrap();
    assert_eq!(settings.data, PathBuf::from("/flag"));
    assert_eq!(settings.log, "warn");
    assert_eq!(settings.drain_timeout, Duration::from_secs(5));
    assert_eq!(settings.max_commit_bytes, 1 << 30);
    assert_eq!(settings.listen.port(), 7070);
    let table = settings.table();
    for line in ["data ", "flag", "variable WH_LOG", "default"] {
        assert!(table.contains(line), "{table}");
    }
}

#[test]
fn unknown_keys_and_bad_values_say_where_they_are() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "data = \"/x\"\nlisen = \"1\"\n").unwrap();
    let flags = Flags { config: Some(file.path().into()), ..Flags::default() };
    let error = format!("{:#}", find(flags, &[]).unwrap_err());
    assert!(error.contains("line 2") && error.contains("lisen"), "{error}");
    let error = find(Flags::default(), &[("WH_LISTEN", "nowhere")]).unwrap_err();
    let hinted = error.downcast_ref::<Hinted>().unwrap();
    assert!(hinted.message.contains("listen") && hinted.hints[0].contains("WH_LISTEN"), "{hinted:?}");
}

#[test]
fn bad_values_and_broken_files_name_file_and_line() {
    for (text, line, words) in [
        ("data = \"/x\"\n\nlisten = \"nope\"\n", 3, "ADDRESS:PORT"),
        ("data = \"/x\"\nmax_commit_bytes = 0\n", 2, "number of bytes"),
        ("data = true\n", 1, "a string or a number"),
        ("data = \"/x\"\nlog = \n", 2, ""),
        ("\n\n[limits]\n", 3, "limits"),
    ] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, text).unwrap();
        let flags = Flags { config: Some(file.path().into()), ..Flags::default() };
        let error = find(flags, &[]).unwrap_err();
        let hinted = error.downcast_ref::<Hinted>().unwrap();
        let said = format!("{} {}", hinted.message, hinted.hints.join(" "));
        let place = format!("{}, line {line}", file.path().display());
        assert!(said.contains(&place) && said.contains(words), "{text}: {said}");
    }
}

#[test]
fn repacking_is_full_at_half_a_core_unless_said_otherwise() {
    let settings = find(Flags::default(), &[]).unwrap();
    assert_eq!((settings.repack, settings.repack_share), (RepackPolicy::Full, 0.5));
    let settings = find(Flags::default(), &[("WH_REPACK", "light"), ("WH_REPACK_CPU_PERCENT", "100")]).unwrap();
    let options = settings.hub_options(true);
    assert_eq!((options.repack, options.repack_share), (RepackPolicy::Light, 1.0));
    assert_eq!(options.repack_level, Level::Fast);
    let cold = find(Flags::default(), &[("WH_REPACK_LEVEL", "cold")]).unwrap();
    assert_eq!(cold.hub_options(true).repack_level, Level::Cold);
    for (name, value, words) in [
        ("WH_REPACK", "on", "`off`, `light` or `full`"),
        ("WH_REPACK_CPU_PERCENT", "0", "--repack off"),
        ("WH_REPACK_LEVEL", "best", "`fast` or `cold`"),
    ] {
        let error = find(Flags::default(), &[(name, value)]).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn passwords_are_not_printed() {
    for url in [
        "postgres://me:secret@host/db",
        "postgres://me:p@secret@host/db",
        "postgres://me:p/secret@host/db",
        "postgres://me:p?secret@host/db",
        "postgres://host/db?user=me&password=secret",
        "postgres://host/db?PASSWORD=secret&sslpassword=secret",
    ] {
        let settings = find(Flags::default(), &[("WH_DATABASE", url), ("WH_DATA", "/x")]).unwrap();
        let shown = format!("{} {}", settings.table(), settings.json());
        assert!(!shown.contains("secret") && shown.contains("postgres://"), "{url}: {shown}");
    }
    let kept = hide_password("postgres://me@host:5432/db?sslmode=require");
    assert_eq!(kept, "postgres://me:…@host:5432/db?sslmode=require");
    assert_eq!(hide_password("s3://bucket/prefix"), "s3://bucket/prefix");
}

#[test]
fn refusals_do_not_repeat_a_password() {
    let error = find(Flags::default(), &[("WH_DATABASE", "postgress://me:secret@host/db")]).unwrap_err();
    assert!(!format!("{error:#} {error:?}").contains("secret"), "{error:?}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "databse = \"postgres://me:secret@host/db\"\n").unwrap();
    let error = find(Flags { config: Some(file.path().into()), ..Flags::default() }, &[]).unwrap_err();
    assert!(!format!("{error:#} {error:?}").contains("secret"), "{error:?}");
}

#[test]
fn sizes_are_read_with_their_units() {
    assert_eq!(bytes("10MiB"), Ok(10 << 20));
    assert_eq!(bytes("10MB"), Ok(10_000_000));
    assert_eq!(bytes("7"), Ok(7));
    assert!(bytes("0").is_err() && bytes("10M").is_err() && bytes("-1").is_err() && bytes("99999999TiB").is_err());
}
