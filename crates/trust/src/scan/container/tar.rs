//! Tar archives.

use weighthouse_format::other::tar::{Kind, Member, members};

use super::super::dispatch;
use super::super::pickle::plain;
use super::super::report::Finding;
use super::super::rules;
use super::super::session::{Item, Role, Session};
use super::super::verdict::Verdict;

/// Judges an archive; answers where its last member ends.
pub(in crate::scan) fn judge(session: &mut Session<'_>, item: &Item) -> u64 {
    let members = match members(&item.section, &session.limits) {
        Ok(members) => members,
        Err(error) => {
            session.error(item, rules::ARCHIVE_BROKEN, "the archive cannot be read to its end", &error);
            return item.section.len();
        }
    };
    let mut names = std::collections::HashSet::new();
    let mut links: Vec<String> = Vec::new();
    let old_torch = ["sys_info", "pickle", "storages", "tensors"];
    let found = |name: &str| members.iter().any(|member| member.name.trim_start_matches("./") == name);
    if old_torch.iter().all(|name| found(name)) {
        session.format("torch-tar");
        let detail = "is of torch's oldest format, for which `weights_only` is no protection";
        session.add(item, Finding::of(rules::TORCH_TAR, Verdict::Suspicious, detail));
    }
    for member in &members {
        if !session.member(item) {
            break;
        }
        let inner = item.inner(&plain(&member.name), member.section.clone(), Role::Any);
        if member.leads_outside() {
            let detail = "its name leads outside the folder that the archive is unpacked in";
            session.add(&inner, Finding::of(rules::ARCHIVE_NAME, Verdict::Unsafe, detail));
        }
        let below_link =
            links.iter().any(|link| member.name.strip_prefix(link.as_str()).is_some_and(|rest| rest.starts_with('/')));
        if below_link {
            let detail = "it lies below a link, and so is unpacked where that leads";
            session.add(&inner, Finding::of(rules::ARCHIVE_LINK, Verdict::Unsafe, detail));
        }
        match member.kind {
            Kind::Link => {
                let detail = "it is a link: unpacked, it may lead anywhere";
                session.add(&inner, Finding::of(rules::ARCHIVE_LINK, Verdict::Suspicious, detail));
                if links.len() < 100 {
                    links.push(member.name.trim_end_matches('/').to_owned());
                }
            }
            Kind::Other => {
                let detail = "it is a device or a pipe";
                session.add(&inner, Finding::of(rules::ARCHIVE_LINK, Verdict::Suspicious, detail));
            }
            Kind::File | Kind::Folder => {}
        }
        if member.kind != Kind::Folder && !names.insert(member.name.clone()) {
            let detail = "another member has the same name";
            session.add(&inner, Finding::of(rules::ARCHIVE_DUPLICATE, Verdict::Suspicious, detail));
        }
        dispatch::judge(session, &inner);
    }
    let end = |member: &Member| member.section.begin().saturating_sub(item.section.begin()) + member.section.len();
    members.iter().map(end).max().unwrap_or(0)
}
