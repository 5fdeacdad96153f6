//! The program of a pickle around what was found in it, for readers of a report.

use std::sync::Arc;

use weighthouse_format::Limits;
use weighthouse_trust::scan::Finding;
use weighthouse_trust::scan::trace::{self, Line};

use crate::browse::FileRecord;
use crate::checkpoints::QUESTION_BYTES;
use crate::checkpoints::stored::StoredFolder;
use crate::{Error, Hub};

/// Findings of one report that are told with their program.
const MAX_TRACES: usize = 10;

impl Hub {
    /// The opcodes around each of the first findings in a file that stand in a pickle, in their order; nothing for others.
    ///
    /// # Errors
    /// A transient error when too many ask.
    pub async fn traces(&self, file: &FileRecord, findings: &[Finding]) -> Result<Vec<Vec<Line>>, Error> {
        let told: Vec<Finding> =
            findings.iter().filter(|finding| finding.op.is_some()).take(MAX_TRACES).cloned().collect();
        if told.is_empty() {
            return Ok(vec![Vec::new(); findings.len()]);
        }
        let turn = Arc::clone(&self.gate().traces).try_acquire_owned();
        let turn = turn.map_err(|_| Error::Busy { what: "reading reports" })?;
        let folder = StoredFolder::new(self, vec![(file.path.as_str().into(), Arc::new(file.clone()))], QUESTION_BYTES);
        let work = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let limits = Limits::default();
            told.into_iter()
                .map(|finding| {
                    let lines = trace::around(&folder, &finding, &limits).unwrap_or_default();
                    (finding, lines)
                })
                .collect::<Vec<_>>()
        });
        // A report without the program is still a report.
        let told = work.await.unwrap_or_default();
        let of = |finding: &Finding| told.iter().find(|(found, _)| found == finding).map(|(_, lines)| lines.clone());
        Ok(findings.iter().map(|finding| of(finding).unwrap_or_default()).collect())
    }
}
