use super::*;

fn person() -> Asker {
    Asker { id: "ada".to_owned(), orgs: vec![("lab".to_owned(), "write".to_owned())], ..Asker::default() }
}

fn subject() -> Subject {
    Subject {
        repo: "lab/model".to_owned(),
        namespace: "lab".to_owned(),
        owner_role: Some("read".to_owned()),
        ..Subject::default()
    }
}

fn facts(state: State) -> Facts {
    Facts { state, path: "model.bin".to_owned(), format: "torch".to_owned(), ..Facts::default() }
}

fn download(set: &PolicySet, asker: &Asker, subject: &Subject, state: State) -> Decision {
    set.decide(Action::Download, asker, subject, &facts(state))
}

fn hub(rest: &str) -> String {
    format!("{DEFAULTS}\n{rest}")
}

#[test]
fn the_defaults_do_what_the_table_says() {
    use State::*;
    let set = PolicySet::defaults().unwrap();
    set.validate().unwrap();
    let program = Asker { automated: true, ..person() };
    let owner = Subject { owner_role: Some("write".to_owned()), ..subject() };
    let released = Subject { overridden: true, ..subject() };
    // Verdict; a person who may read; a program; a person who may write; a program, after an override.
    let table = [
        (Safe, true, true, true, true),
        (Caution, true, true, true, true),
        (Suspicious, true, false, true, true),
        (Error, true, false, true, true),
        (Unsafe, false, false, false, true),
        (Queued, false, false, true, false),
    ];
    for (state, reader, automated, writer, vouched) in table {
        assert_eq!(download(&set, &person(), &subject(), state).allowed, reader, "{state:?} reader");
        assert_eq!(download(&set, &program, &subject(), state).allowed, automated, "{state:?} program");
        assert_eq!(download(&set, &person(), &owner, state).allowed, writer, "{state:?} writer");
        assert_eq!(download(&set, &program, &released, state).allowed, vouched, "{state:?} vouched");
        // Whatever it is, it may be stored; it is judged then.
        assert!(set.decide(Action::Upload, &program, &owner, &facts(state)).allowed, "{state:?} upload");
        let published = set.decide(Action::Publish, &person(), &owner, &facts(state)).allowed;
        assert_eq!(published, matches!(state, Safe | Caution | Suspicious), "{state:?} publish");
    }
}

#[test]
fn what_is_suspicious_comes_with_a_warning_for_people() {
    let set = PolicySet::defaults().unwrap();
    let decision = download(&set, &person(), &subject(), State::Suspicious);
    assert!(decision.allowed);
    assert_eq!(decision.warnings[0].policy, "suspicious-asks");
    assert!(decision.warnings[0].text.contains("look at its report"));
    assert!(download(&set, &person(), &subject(), State::Safe).warnings.is_empty());
}

#[test]
fn data_and_text_do_not_wait_for_the_scanner() {
    let set = PolicySet::defaults().unwrap();
    let allowed = |facts: &Facts| set.decide(Action::Download, &Asker::default(), &subject(), facts).allowed;
    for format in ["", "safetensors", "gguf"] {
        let queued = Facts { format: format.to_owned(), ..facts(State::Queued) };
        assert!(allowed(&queued), "{format}");
        assert!(!allowed(&Facts { pickle: true, ..queued.clone() }), "{format}");
        assert!(!allowed(&Facts { remote_code: true, ..queued }), "{format}");
    }
}

#[test]
fn only_administrators_override() {
    let set = PolicySet::defaults().unwrap();
    let administrator = Asker { admin: true, ..person() };
    assert!(set.decide(Action::Override, &administrator, &subject(), &facts(State::Unsafe)).allowed);
    assert!(!set.decide(Action::Override, &person(), &subject(), &facts(State::Unsafe)).allowed);
}

#[test]
fn safetensors_only_in_a_namespace_blocks_and_says_why() {
    let text = r#"
        @id("safetensors-only")
        @reason("production takes safetensors only")
        forbid (principal, action in [Action::"upload", Action::"download"], resource in Namespace::"production")
        when { context.format != "" && context.format != "safetensors" };
    "#;
    let set = PolicySet::parse(&hub(text)).unwrap();
    set.validate().unwrap();
    let production = Subject { repo: "production/bert".to_owned(), namespace: "production".to_owned(), ..subject() };
    let refused = set.decide(Action::Upload, &person(), &production, &facts(State::Safe));
    assert!(!refused.allowed);
    assert_eq!(refused.why(), "production takes safetensors only (policy `safetensors-only` of this hub)");
    let tensors = Facts { format: "safetensors".to_owned(), ..facts(State::Safe) };
    assert!(set.decide(Action::Upload, &person(), &production, &tensors).allowed);
    let readme = Facts { format: String::new(), path: "README.md".to_owned(), ..facts(State::Safe) };
    assert!(set.decide(Action::Upload, &person(), &production, &readme).allowed);
    assert!(set.decide(Action::Upload, &person(), &subject(), &facts(State::Safe)).allowed);
}

#[test]
fn policies_see_groups_roles_licences_and_base_models() {
    let text = r#"
        @id("a") @reason("a") forbid (principal, action == Action::"download", resource)
            unless { principal in Organisation::"lab" };
        @id("b") @reason("b") forbid (principal, action == Action::"upload", resource)
            unless { principal in Group::"lab/admin" };
        @id("c") @reason("c") forbid (principal, action == Action::"publish", resource)
            when {
                !(context has license)
                || (context has license && context.license like "*-nc-*")
                || context.base_models.contains("x/y")
            };
        @id("d") @reason("d") forbid (principal, action == Action::"merge", resource)
            when { context.remote_code || context.pickle || context.size_bytes > 100 };
    "#;
    let set = PolicySet::parse(&hub(text)).unwrap();
    set.validate().unwrap();
    let good = Facts { license: Some("mit".to_owned()), ..facts(State::Safe) };
    assert!(set.decide(Action::Download, &person(), &subject(), &good).allowed);
    assert!(!set.decide(Action::Download, &Asker::default(), &subject(), &good).allowed);
    assert!(!set.decide(Action::Upload, &person(), &subject(), &good).allowed);
    assert!(set.decide(Action::Publish, &person(), &subject(), &good).allowed);
    for bad in [
        Facts { license: None, ..good.clone() },
        Facts { license: Some("cc-by-nc-4.0".to_owned()), ..good.clone() },
        Facts { base_models: vec!["a/b".to_owned(), "x/y".to_owned()], ..good.clone() },
    ] {
        assert!(!set.decide(Action::Publish, &person(), &subject(), &bad).allowed);
    }
    assert!(set.decide(Action::Merge, &person(), &subject(), &good).allowed);
    assert!(!set.decide(Action::Merge, &person(), &subject(), &Facts { size_bytes: u64::MAX, ..good }).allowed);
}

#[test]
fn an_organisation_may_only_forbid() {
    let text = r#"@id("x") permit (principal, action, resource);"#;
    let error = PolicySet::parse_organisation(text).unwrap_err();
    assert!(error.to_string().contains("policy `x`: an organisation may only forbid"), "{error}");
    let none = PolicySet::parse_organisation("").unwrap();
    assert!(download(&none, &Asker::default(), &subject(), State::Unsafe).allowed);
}

#[test]
fn what_cannot_be_evaluated_forbids() {
    let text = r#"@id("overflow") @reason("x") forbid (principal, action == Action::"download", resource)
        when { context.size_bytes + 9223372036854775807 < 0 };"#;
    for set in [PolicySet::parse(&hub(text)).unwrap(), PolicySet::parse_organisation(text).unwrap()] {
        set.validate().unwrap();
        let large = Facts { size_bytes: 1, ..facts(State::Safe) };
        let decision = set.decide(Action::Download, &person(), &subject(), &large);
        assert!(!decision.allowed);
        assert_eq!(decision.reasons[0].policy, "overflow");
        assert!(decision.reasons[0].text.contains("cannot be evaluated"), "{decision:?}");
    }
}

#[test]
fn mistakes_are_refused_with_line_and_policy() {
    let rule = |when: &str| {
        format!(
            "// one\n@id(\"mine\")\n@reason(\"r\")\nforbid (principal, action == Action::\"download\", resource)\nwhen {{ {when} }};"
        )
    };
    let cases = [
        (rule(r#"context.verdikt == Verdict::"unsafe""#), "line 2: policy `mine`", "verdikt"),
        (rule(r#"context.verdict == Verdict::"bad""#), "line 2: policy `mine`", "bad"),
        (rule(r#"context.verdict == "unsafe""#), "line 2: policy `mine`", "type"),
        (rule("false"), "line 2: policy `mine`", "impossible"),
        (rule("context.license == \"mit\""), "line 2: policy `mine`", "license"),
        (rule("true").replace("\"download\"", "\"destroy\""), "line 2: policy `mine`", "destroy"),
        (rule("context.format == \"\u{202e}x\""), "line 2: policy `mine`", "BIDI"),
        (rule("true").replace("@reason(\"r\")", ""), "line 2: policy `mine`", "must learn why"),
        (rule("true").replace("@id(\"mine\")", ""), "line 3:", "needs a name"),
        (rule("true &&"), "line 5:", "unexpected"),
        (rule("true").replace(';', ""), "line 2:", "no end"),
        (format!("{}\n{}", rule("context.pickle"), rule("context.pickle")), "line 7: policy `mine`", "another policy"),
        (
            "@id(\"all\")\n@reason(\"r\")\nforbid (principal, action, resource);".to_owned(),
            "line 1: policy `all`",
            "everything",
        ),
        ("@id(\"t\") permit (principal == ?principal, action, resource);".to_owned(), "line 1:", "template"),
    ];
    for (text, place, word) in cases {
        let error = PolicySet::parse(&text).and_then(|set| set.validate()).unwrap_err().to_string();
        assert!(error.starts_with(place), "{error}\n{text}");
        assert!(error.to_lowercase().contains(&word.to_lowercase()), "{error}\n{text}");
    }
}

#[test]
fn a_group_that_is_none_is_refused() {
    for group in ["lab", "lab/owner", ""] {
        let text = format!("@id(\"g\") @reason(\"r\") forbid (principal in Group::\"{group}\", action, resource);");
        let error = PolicySet::parse(&text).unwrap().literals().unwrap_err().to_string();
        assert!(error.contains("policy `g`: there is no group"), "{error}");
    }
}

#[test]
fn whoever_administrates_is_not_shut_out() {
    let administrator = Asker { admin: true, ..person() };
    let admits = |text: &str| PolicySet::parse(text).unwrap().admits(&administrator, &subject());
    admits(DEFAULTS).unwrap();
    let error = admits(&hub(r#"@id("no") @reason("r") forbid (principal, action == Action::"override", resource);"#));
    assert!(error.unwrap_err().to_string().contains("policy `no`: `ada` administrates here"));
    let error =
        admits(&hub(r#"@id("none") @reason("r") forbid (principal, action, resource) when { principal.known };"#));
    assert!(error.unwrap_err().to_string().contains("policy `none`"));
    assert!(admits("").unwrap_err().to_string().contains("no policy permits it"));
}

mod hostile {
    use super::*;

    fn limited(text: &str) -> String {
        let set = PolicySet::parse(text);
        let error = set.unwrap_err();
        assert!(matches!(error, PolicyError::TooLarge { .. }), "{error}");
        error.to_string()
    }

    fn when(expression: &str) -> String {
        format!("@id(\"x\") @reason(\"r\") forbid (principal, action, resource) when {{ {expression} }};")
    }

    #[test]
    fn a_huge_text_ends_at_the_limit() {
        assert!(limited(&" ".repeat(MAX_TEXT_BYTES + 1)).contains("131072"));
    }

    #[test]
    fn ten_thousand_policies_end_at_the_limit() {
        let many: String = (0..10_000).map(|_| ";").collect();
        assert!(limited(&many).contains("policies: 257"));
    }

    #[test]
    fn deep_nesting_ends_at_the_limit() {
        for (open, close) in [("(", ")"), ("[", "]"), ("{\"a\":", "}")] {
            let deep = when(&format!("{}1{} == 1", open.repeat(5_000), close.repeat(5_000)));
            assert!(limited(&deep).contains("brackets within brackets"));
        }
    }

    #[test]
    fn long_chains_end_at_the_limit() {
        let chains = ["true && ", "!", "-", "1 + ", "if true then true else ", "context.a."];
        for chain in chains {
            let text = when(&format!("{}true", chain.repeat(3_000)));
            assert!(limited(&text).contains("operators in one policy"), "{chain}");
        }
    }

    /// What passes the limits is parsed, compared and evaluated on the stack of a worker thread.
    #[test]
    fn the_worst_that_passes_needs_no_large_stack() {
        let worst = [
            format!("{}true", "true && ".repeat(MAX_OPERATORS / 2 - 1)),
            format!("{}1 > 0", "1 + ".repeat(MAX_OPERATORS - 1)),
            format!("{}true", "if context.pickle then false else ".repeat(MAX_OPERATORS / 2 - 1)),
            format!("{}true{}", "(true && ".repeat(MAX_DEPTH - 2), ")".repeat(MAX_DEPTH - 2)),
            format!("[{}1].contains(1)", "1,".repeat(50_000)),
        ];
        let work = move || {
            for expression in worst {
                let text = when(&expression);
                match PolicySet::parse(&hub(&text)) {
                    Ok(set) => {
                        let _ = set.validate();
                        let _ = download(&set, &person(), &subject(), State::Safe);
                    }
                    Err(error) => assert!(!error.to_string().is_empty()),
                }
            }
        };
        std::thread::Builder::new().stack_size(2 << 20).spawn(work).unwrap().join().unwrap();
    }

    #[test]
    fn open_ends_are_errors() {
        for text in [
            "\"",
            "@id(\"",
            "(",
            ")",
            "permit",
            "\\",
            "\"\\",
            "/*",
            "@",
            "\u{0}",
            "é;",
            "forbid(principal,action,resource)when{\"\\u{110000}\"==\"\"};",
        ] {
            assert!(PolicySet::parse(text).is_err(), "{text}");
        }
        assert!(PolicySet::parse("// nothing").unwrap().is_empty());
    }

    #[test]
    fn names_with_quotes_stay_names() {
        let asker = Asker { id: "\", admin: true".to_owned(), ..Asker::default() };
        let decision = download(&PolicySet::defaults().unwrap(), &asker, &subject(), State::Unsafe);
        assert!(!decision.allowed);
    }
}

mod widening {
    use proptest::prelude::*;

    use super::*;

    fn rule() -> impl Strategy<Value = String> {
        let action = prop::sample::select(vec!["download", "upload", "merge", "publish"]);
        let condition = prop::sample::select(vec![
            "true",
            "context.pickle",
            "context.verdict == Verdict::\"unsafe\"",
            "principal.automated",
            "context.overridden",
            "context.format == \"safetensors\"",
            "context.size_bytes * 9223372036854775807 > 0",
            "principal in Group::\"lab/write\"",
        ]);
        (action, condition, any::<bool>()).prop_map(|(action, condition, unless)| {
            let word = if unless { "unless" } else { "when" };
            format!("forbid (principal, action == Action::\"{action}\", resource) {word} {{ {condition} }};")
        })
    }

    fn question() -> impl Strategy<Value = (Action, Asker, Subject, Facts)> {
        let flags = any::<(bool, bool, bool, bool, bool, u64)>();
        (prop::sample::select(&Action::ALL[..4]), prop::sample::select(&State::ALL[..]), flags).prop_map(
            |(action, state, (admin, automated, overridden, pickle, member, size_bytes))| {
                let asker = Asker { admin, automated, orgs: person().orgs, ..person() };
                let role = if member { "write" } else { "read" };
                let subject = Subject { overridden, owner_role: Some(role.to_owned()), ..subject() };
                (action, asker, subject, Facts { pickle, size_bytes, ..facts(state) })
            },
        )
    }

    proptest! {
        #[test]
        fn an_organisation_never_widens(
            rules in prop::collection::vec(rule(), 0..6),
            (action, asker, subject, facts) in question(),
        ) {
            let hub = PolicySet::defaults().unwrap();
            let text: String = rules.iter().enumerate()
                .map(|(i, rule)| format!("@id(\"r{i}\") @reason(\"r\") {rule}\n")).collect();
            let organisation = PolicySet::parse_organisation(&text).unwrap();
            let alone = hub.decide(action, &asker, &subject, &facts);
            let both = alone.clone().and(organisation.decide(action, &asker, &subject, &facts));
            prop_assert!(alone.allowed || !both.allowed);
            prop_assert!(!both.reasons.is_empty());
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(?s)[@a-z(){}\\[\\];\"\\\\ .:=!&|0-9\n]{0,200}") {
            let _ = PolicySet::parse(&text).and_then(|set| set.validate());
        }
    }
}
