//! One pickle that was read: its names, its calls, its oddities.

use std::collections::BTreeMap;

use weighthouse_format::pickle::{Coding, Data, Global, Graph, Node, NodeId, Object, Oddity, Pickle, TextKind, ops};
use weighthouse_format::{FormatError, Section};

use super::super::report::{Finding, Import, Safety};
use super::super::rules;
use super::super::session::{Item, Role, Session};
use super::super::verdict::{Confidence, Verdict};
use super::danger::{Danger, danger};
use super::names::{Standing, standing};
use super::persistent;
use super::show;
use super::uses::{Check, Names, check_of, is_container};

/// Most findings of one kind of use in one pickle.
const MAX_USES: usize = 50;

/// What a call to a loader was given.
type Inner = (NodeId, NodeId);

/// Judges a pickle; with `quiet` only what it does counts, and not that it is damaged.
pub(super) fn examine(session: &mut Session<'_>, item: &Item, pickle: &Pickle, quiet: bool) {
    let graph = &pickle.graph;
    let script = matches!(item.role, Role::Script(_));
    let globals = graph.globals();
    let standings: Vec<Standing> = globals.iter().map(|global| standing_of(global, script)).collect();
    let mut view = View {
        names: Names { graph, standings: &standings },
        checks: globals
            .iter()
            .zip(&standings)
            .map(|(global, &standing)| check_of(&global.module, &global.name, standing))
            .collect(),
        first: vec![None; globals.len()],
        found: Vec::new(),
        inner: Vec::new(),
    };
    view.walk(item);
    let View { first, mut found, inner, .. } = view;
    for ((global, &standing), first) in globals.iter().zip(&standings).zip(&first) {
        found.extend(name(graph, global, standing, *first).into_iter().map(|finding| (finding, *first)));
        if !quiet {
            session.import(import(session.path, item, global, standing));
        }
    }
    libraries(&mut found, globals, &standings);
    if !quiet {
        found.extend(oddities(pickle).into_iter().map(|finding| (finding, None)));
    } else {
        found.retain(|(finding, _)| finding.verdict >= Verdict::Suspicious);
    }
    report(session, item, pickle, found);
    for (loader, argument) in inner {
        load(session, item, graph, loader, argument);
    }
    if let Some(error) = pickle.trace.error.as_ref().filter(|_| !quiet) {
        let what = format!("it cannot be read beyond opcode {}", pickle.trace.ops.saturating_sub(1));
        session.error(item, rules::PICKLE_BROKEN, &what, error);
    }
}

/// A walk over the values of a pickle.
struct View<'a> {
    names: Names<'a>,
    checks: Vec<Check>,
    /// First value that each name was called for.
    first: Vec<Option<NodeId>>,
    found: Vec<(Finding, Option<NodeId>)>,
    inner: Vec<Inner>,
}

impl View<'_> {
    fn walk(&mut self, item: &Item) {
        let graph = self.names.graph;
        let storages = match &item.role {
            Role::Torch(storages) | Role::Script(storages) => Some(&**storages),
            _ => None,
        };
        for id in graph.ids() {
            let finding = match graph.node(id) {
                Node::Object(_) => {
                    if let Some(object) = graph.object(id) {
                        self.object(id, object);
                    }
                    None
                }
                Node::Persistent(inner) => persistent::judge(graph, inner, storages),
                _ => None,
            };
            if let Some(finding) = finding {
                self.note(finding, id);
            }
        }
        if let Some(storages) = storages {
            for key in storages.unused().into_iter().take(MAX_USES) {
                let detail = format!("member `{}` lies among the tensors, and no tensor has it", show::plain(&key));
                self.found.push((Finding::of(rules::STORAGE_UNUSED, Verdict::Suspicious, detail), None));
            }
        }
    }

    fn note(&mut self, finding: Finding, id: NodeId) {
        let same = self.found.iter().filter(|(known, _)| known.rule == finding.rule).count();
        let worst =
            self.found.iter().filter(|(known, _)| known.rule == finding.rule).map(|(known, _)| known.verdict).max();
        if same < MAX_USES || worst.is_some_and(|worst| worst < finding.verdict) {
            self.found.push((finding, Some(id)));
        }
    }

    fn object(&mut self, id: NodeId, object: &Object) {
        let graph = self.names.graph;
        let callee = match graph.node(object.callee) {
            Node::Global(at) => at as usize,
            Node::Persistent(_) => match graph.class(id) {
                // The class stands beside its source; the persistent id is judged by itself.
                Some(_) => return,
                None => return self.indirect(id, object),
            },
            _ => return self.indirect(id, object),
        };
        if let Some(first @ None) = self.first.get_mut(callee) {
            *first = Some(id);
        }
        let standing = self.names.standings.get(callee).copied().unwrap_or(Standing::Unknown);
        let check = self.checks.get(callee).copied().unwrap_or(Check::Nothing);
        if let Some(finding) = self.names.call(check, id, object) {
            self.note(finding, id);
        }
        if object.state.is_some()
            && standing != Standing::Unknown
            && let Some(finding) = self.names.state(id, object, standing)
        {
            self.note(finding, id);
        }
        let loads = || {
            let global = graph.global(object.callee);
            global.is_some_and(|global| matches!(&*global.name, "loads" | "load" | "_load_from_bytes"))
        };
        if matches!(standing, Standing::Loader | Standing::Unknown) && self.inner.len() < MAX_USES && loads() {
            self.inner.extend(graph.items(object.args).first().map(|&argument| (id, argument)));
        }
        if standing == Standing::Code
            && let Some(finding) = self.code(id, object)
        {
            self.note(finding, id);
        }
    }

    /// A module that cloudpickle imports by its name.
    fn code(&self, id: NodeId, object: &Object) -> Option<Finding> {
        let graph = self.names.graph;
        let global = graph.global(object.callee).filter(|global| &*global.name == "subimport")?;
        let module = graph.items(object.args).first().and_then(|&module| graph.str(module));
        let danger = match module {
            Some(module) => danger(module, "*")?,
            None => Danger { effect: "imports a module by a computed name", severity: super::super::Severity::High },
        };
        let detail = format!("imports by `{}`, and the module {}", show::call(graph, id), danger.effect);
        let finding =
            Finding::of(rules::PICKLE_DANGEROUS, Verdict::Unsafe, detail).naming(&global.module, &global.name);
        Some(finding.weighing(danger.severity))
    }

    /// The result of a call is called.
    fn indirect(&mut self, id: NodeId, object: &Object) {
        let graph = self.names.graph;
        // cloudpickle asks for the type of functions by its name, and calls it.
        let of_code = graph.class(object.callee).is_some_and(|class| &*class.name == "_builtin_type")
            && self.names.of(graph.object(object.callee).map_or(object.callee, |inner| inner.callee))
                == Some(Standing::Code);
        if !of_code {
            let detail = format!("calls what a call gave: `{}`", show::call(graph, id));
            self.note(Finding::of(rules::PICKLE_INDIRECT, Verdict::Unsafe, detail), id);
        }
    }
}

fn standing_of(global: &Global, script: bool) -> Standing {
    if script && (global.module.starts_with("__torch__.") || &*global.module == "__torch__") {
        return Standing::Data;
    }
    if script && &*global.module == "torch.jit._pickle" {
        let known = [
            "build_intlist",
            "build_doublelist",
            "build_boollist",
            "build_tensorlist",
            "restore_type_tag",
            "build_tensor_from_id",
        ];
        return if known.contains(&&*global.name) { Standing::Data } else { Standing::Unknown };
    }
    standing(&global.module, &global.name)
}

fn import(path: &str, item: &Item, global: &Global, standing: Standing) -> Import {
    let safety = match standing {
        Standing::Unknown if danger(&global.module, &global.name).is_some() => Safety::Dangerous,
        Standing::Unknown | Standing::Code => Safety::Suspicious,
        _ => Safety::Innocuous,
    };
    Import {
        module: global.module.to_string(),
        name: global.name.to_string(),
        safety,
        file: path.to_owned(),
        member: item.member.clone(),
        imported: global.imported.count,
        called: global.called.count,
        built: global.built.count + global.altered.count,
    }
}

/// Judges a name, whatever it is used for.
fn name(graph: &Graph, global: &Global, standing: Standing, first: Option<NodeId>) -> Vec<Finding> {
    let path = show::plain(&global.path());
    let (place, use_of) = match (global.called.first, global.imported.first) {
        (Some(place), _) => (Some(place), "calls"),
        (None, place) => (place, "imports"),
    };
    let shown = match first {
        Some(id) if use_of == "calls" => show::call(graph, id),
        _ => path.clone(),
    };
    let finding = |rule, verdict, detail: String, place: Option<weighthouse_format::pickle::Place>| {
        let mut finding = Finding::of(rule, verdict, detail).naming(&global.module, &global.name);
        if let Some(place) = place {
            (finding.offset, finding.op) = (Some(place.at), Some(place.op));
        }
        finding
    };
    let mut found = Vec::new();
    let written = global
        .written
        .as_ref()
        .map(|written| format!(" (written `{}.{}`)", show::plain(&written.0), show::plain(&written.1)));
    let written = written.unwrap_or_default();
    match standing {
        Standing::Unknown => {
            if let Some(danger) = danger(&global.module, &global.name) {
                let detail = format!("{use_of} `{shown}`{written}, which {}", danger.effect);
                found.push(finding(rules::PICKLE_DANGEROUS, Verdict::Unsafe, detail, place).weighing(danger.severity));
            } else if global.name.contains('.') {
                let detail = format!("{use_of} `{shown}`{written}, reached through an attribute");
                found.push(finding(rules::PICKLE_DOTTED, Verdict::Unsafe, detail, place));
            } else {
                let detail = format!("{use_of} `{shown}`{written}, which is not known to be harmless");
                found.push(
                    finding(rules::PICKLE_UNKNOWN, Verdict::Suspicious, detail, place).sure(Confidence::Possible),
                );
            }
        }
        Standing::Code => {
            let detail = format!("{use_of} `{path}`: functions lie in it as code");
            found.push(finding(rules::PICKLE_CODE, Verdict::Suspicious, detail, place));
        }
        Standing::Loader => {
            let detail = format!("{use_of} `{path}`, which loads the pickle that it is given");
            found.push(finding(rules::PICKLE_LOADER, Verdict::Caution, detail, place));
        }
        _ => {}
    }
    if global.altered.count > 0 {
        let detail = format!("sets attributes of `{path}` itself, which changes it for the whole program");
        found.push(finding(rules::PICKLE_ALTERED, Verdict::Unsafe, detail, global.altered.first));
    }
    if global.extended.count > 0 && !is_container(&global.module, &global.name) && standing != Standing::Unknown {
        let ends = ["Dict", "List", "Output", "Set"].iter().any(|end| global.name.ends_with(end));
        let detail = format!("adds items to an instance of `{path}`");
        match standing {
            Standing::Class if ends => {}
            Standing::Class | Standing::Library(_) => {
                found.push(finding(rules::PICKLE_EXTEND, Verdict::Caution, detail, global.extended.first));
            }
            _ => found.push(finding(rules::PICKLE_EXTEND, Verdict::Unsafe, detail, global.extended.first)),
        }
    }
    found
}

/// One finding for each library, not one for each of its classes.
fn libraries(found: &mut Vec<(Finding, Option<NodeId>)>, globals: &[Global], standings: &[Standing]) {
    let mut by_library: BTreeMap<&str, Vec<&Global>> = BTreeMap::new();
    for (global, standing) in globals.iter().zip(standings) {
        if let Standing::Library(library) = standing {
            by_library.entry(library).or_default().push(global);
        }
    }
    for (library, globals) in by_library {
        let mut names: Vec<String> =
            globals.iter().take(3).map(|global| format!("`{}`", show::plain(&global.path()))).collect();
        if globals.len() > 3 {
            names.push(format!("{} more", globals.len() - 3));
        }
        let detail = format!("makes objects of {library}: {}", names.join(", "));
        let mut finding = Finding::of(rules::PICKLE_LIBRARY, Verdict::Caution, detail);
        if let Some(place) = globals.first().and_then(|global| global.imported.first) {
            (finding.offset, finding.op) = (Some(place.at), Some(place.op));
        }
        found.push((finding, None));
    }
}

fn oddities(pickle: &Pickle) -> Vec<Finding> {
    let mut found = Vec::new();
    for &(oddity, uses) in &pickle.trace.oddities {
        let (rule, verdict) = match oddity {
            Oddity::Extension(_) => (rules::PICKLE_EXTENSION, Verdict::Unsafe),
            Oddity::ComputedName => (rules::PICKLE_COMPUTED, Verdict::Unsafe),
            Oddity::IndirectExtend => (rules::PICKLE_EXTEND, Verdict::Unsafe),
            // Judged call by call.
            Oddity::IndirectCall => continue,
            Oddity::LateProtocol => (rules::PICKLE_ODD, Verdict::Caution),
            Oddity::MemoOverwritten => (rules::PICKLE_ODD, Verdict::Safe),
            _ => (rules::PICKLE_ODD, Verdict::Suspicious),
        };
        let detail = match oddity {
            Oddity::Extension(code) => format!("{}, under number {code}", oddity.as_str()),
            _ => oddity.as_str().to_owned(),
        };
        let mut finding = Finding::of(rule, verdict, detail);
        if let Some(place) = uses.first {
            (finding.offset, finding.op) = (Some(place.at), Some(place.op));
        }
        found.push(finding);
    }
    found
}

/// Adds places and ways to findings, and notes them.
fn report(session: &mut Session<'_>, item: &Item, pickle: &Pickle, found: Vec<(Finding, Option<NodeId>)>) {
    let graph = &pickle.graph;
    let wanted: Vec<NodeId> = found.iter().filter_map(|(_, id)| *id).collect();
    let paths = match pickle.root {
        Some(root) if !wanted.is_empty() => show::paths(graph, root, &wanted),
        _ => Default::default(),
    };
    for (mut finding, id) in found {
        if let Some(object) = id.and_then(|id| graph.object(id))
            && finding.offset.is_none()
        {
            (finding.offset, finding.op) = (Some(object.place.at), Some(object.place.op));
        }
        finding.path_in_object = id.and_then(|id| paths.get(&id).cloned());
        if let Some(at) = finding.offset {
            let byte = item.section.read("opcode", at, 1).ok().and_then(|bytes| bytes.first().copied());
            finding.opcode = byte.and_then(ops::name).map(Into::into);
        }
        session.add(item, finding);
    }
}

/// Judges what a loader is given.
fn load(session: &mut Session<'_>, item: &Item, graph: &Graph, loader: NodeId, argument: NodeId) {
    match bytes_of(session, item, graph, argument) {
        Ok(Some(section)) => {
            if session.member(item) {
                super::super::dispatch::judge(session, &item.inner("loaded bytes", section, Role::Any));
            }
        }
        // A function of another library may be given anything; it has a finding of its own.
        Ok(None) if !graph.class(loader).is_some_and(|class| class.is("torch.storage", "_load_from_bytes")) => {}
        Ok(None) => {
            let detail = format!("`{}` loads what is computed", show::call(graph, loader));
            session.add(item, Finding::of(rules::PICKLE_LOADER, Verdict::Unsafe, detail));
        }
        Err(error) => session.error(item, rules::PICKLE_BROKEN, "bytes that are loaded", &error),
    }
}

/// The bytes that a value is: bytes, or text that `_codecs.encode` makes bytes of.
fn bytes_of(session: &Session<'_>, item: &Item, graph: &Graph, id: NodeId) -> Result<Option<Section>, FormatError> {
    let encoded = graph.class(id).is_some_and(|class| class.is("_codecs", "encode"));
    let value = match graph.object(id) {
        Some(object) if encoded => graph.items(object.args).first().copied(),
        Some(_) => None,
        None => Some(id),
    };
    let Some(value) = value else { return Ok(None) };
    let limit = session.budget.unpacked_bytes.min(session.limits.decoded_bytes);
    match graph.data(value) {
        Some((TextKind::Str, data)) if encoded => {
            let text = graph.bytes(data, &item.section, limit)?;
            let text = String::from_utf8_lossy(&text);
            let bytes: Option<Vec<u8>> =
                text.chars().map(|character| u8::try_from(u32::from(character)).ok()).collect();
            Ok(bytes.map(|bytes| Section::of_bytes(item.section.file().to_string(), bytes)))
        }
        Some((TextKind::Bytes | TextKind::ByteArray | TextKind::OldStr, data)) => match data {
            Data::Far { begin, len, coding: Coding::Plain } => item.section.slice("bytes", begin, len).map(Some),
            data => {
                let bytes = graph.bytes(data, &item.section, limit)?;
                Ok(Some(Section::of_bytes(item.section.file().to_string(), bytes)))
            }
        },
        _ => Ok(None),
    }
}
