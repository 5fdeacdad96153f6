//! Tags, as the Hub spells them, so that clients can filter by them.

use weighthouse_store::catalog::RepoKind;

use super::Facts;
use crate::card::Card;

/// Tags of one repository.
const MAX_TAGS: usize = 500;
/// Longest tag, in bytes.
const MAX_TAG_BYTES: usize = 256;
/// Papers taken from the text of a card.
const MAX_PAPERS: usize = 50;

/// Fields of a dataset's card that become tags with a prefix.
const DATASET_FIELDS: &[(&str, &str)] = &[
    ("task_categories", "task_categories"),
    ("task_ids", "task_ids"),
    ("annotations_creators", "annotations_creators"),
    ("language_creators", "language_creators"),
    ("multilinguality", "multilinguality"),
    ("source_datasets", "source_datasets"),
    ("size_categories", "size_categories"),
];

/// Tags in the order they are shown: what it is, what it says, where it comes from.
pub(super) fn of(kind: RepoKind, facts: &Facts, card: &Card<'_>) -> Vec<String> {
    let mut tags = Tags::default();
    let languages = card.texts("language").into_iter().chain(card.texts("languages"));
    match kind {
        RepoKind::Model => {
            tags.add_all("", facts.library_name.iter());
            tags.add_all("", &facts.formats);
            tags.add_all("", &facts.model_type);
            tags.add_all("", &facts.pipeline_tag);
            tags.add_all("", card.texts("tags"));
            tags.add_all("", languages);
            if facts.model_index().is_some() || card.data.contains_key("model-index") {
                tags.add("model-index");
            }
            tags.add_all("dataset:", card.texts("datasets"));
        }
        RepoKind::Dataset => {
            for (field, prefix) in DATASET_FIELDS {
                tags.add_all(&format!("{prefix}:"), card.texts(field));
            }
            tags.add_all("language:", languages);
            tags.add_all("", card.texts("tags"));
        }
    }
    tags.add_all("arxiv:", papers(card.body));
    for base in &facts.base_models {
        tags.add(&format!("base_model:{base}"));
        if let Some(relation) = &facts.base_model_relation {
            tags.add(&format!("base_model:{relation}:{base}"));
        }
    }
    tags.add_all("license:", card.texts("license"));
    tags.add("region:us");
    tags.0
}

#[derive(Default)]
struct Tags(Vec<String>);

impl Tags {
    fn add(&mut self, tag: &str) {
        let fits = !tag.is_empty() && tag.len() <= MAX_TAG_BYTES && !tag.contains(char::is_control);
        if fits && self.0.len() < MAX_TAGS && !self.0.iter().any(|known| known == tag) {
            self.0.push(tag.to_owned());
        }
    }

    fn add_all(&mut self, prefix: &str, tags: impl IntoIterator<Item: AsRef<str>>) {
        for tag in tags {
            self.add(&format!("{prefix}{}", tag.as_ref()));
        }
    }
}

/// Numbers of the arXiv papers that a text links to, such as `1706.03762`.
fn papers(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for mark in ["arxiv.org/abs/", "arxiv.org/pdf/", "arxiv:", "arXiv:"] {
        for (at, _) in text.match_indices(mark) {
            let rest = text.get(at + mark.len()..).unwrap_or_default();
            if let Some(number) = paper(rest)
                && !found.contains(&number)
                && found.len() < MAX_PAPERS
            {
                found.push(number);
            }
        }
    }
    found
}

/// `NNNN.NNNN` or `NNNN.NNNNN` at the start of a text.
fn paper(text: &str) -> Option<String> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (month, rest) = text.trim_start().split_once('.')?;
    let number = digits(rest);
    let well_formed = digits(month) == 4 && month.len() == 4 && (4..=5).contains(&number);
    well_formed.then(|| format!("{month}.{}", rest.get(..number).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn papers_are_found_by_their_links() {
        let text =
            "See [1](https://arxiv.org/abs/1706.03762v5), arXiv: 2205.14135, arxiv:123, arxiv.org/pdf/1706.03762.";
        assert_eq!(super::papers(text), ["1706.03762", "2205.14135"]);
    }
}
