//! The catalog: one set of SQL over SQLite and PostgreSQL, split by aggregate.

/// A statement assembled from constants of this crate.
macro_rules! sql {
    ($text:literal) => {
        sqlx::AssertSqlSafe(format!($text))
    };
}
mod accounts;
pub mod advisories;
mod audit;
mod checks;
mod coding;
mod commits;
mod comparisons;
mod contents;
mod conversions;
mod decisions;
mod garbage;
pub mod jobs;
mod keep;
mod leases;
mod moves;
mod objects;
mod overrides;
mod packs;
mod policies;
mod quarantine;
mod readings;
mod recodes;
mod refs;
mod removal;
mod repos;
mod retention;
mod settings;
mod tensors;
mod tokens;
mod uploads;
mod usage;
mod verdicts;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::any::{AnyPoolOptions, AnyRow};
use sqlx::{Any, AnyConnection, AnyPool, AssertSqlSafe, Executor, Row, Transaction};

use crate::StoreError;

pub use accounts::{Account, AccountKind, Accounts, Membership, Role};
pub use advisories::{Advisories, AdvisoryRecord, FeedReach, FeedRecord, MatchRecord, NoticeRecord};
pub use audit::{Audit, AuditEntry, AuditQuery, AuditRecord, NewAudit};
pub use checks::{CheckState, Checks};
pub use coding::{Coding, CodingTotals, Standing};
pub use commits::{Commits, NewCommit};
pub use comparisons::{ComparedSide, ComparisonRecord, Comparisons, NewComparison};
pub use contents::{BlobRecord, Content, ContentRecord, Contents};
pub use conversions::{ConversionKey, ConversionOutput, ConversionRecord, Conversions, NewConversion};
pub use decisions::{DecisionRecord, Decisions};
pub use garbage::Garbage;
pub(crate) use garbage::{BaseRow, CommitLinks, HistoryKind, PAGE, RepoHistory, RepoName, XorbRow};
pub use jobs::{Job, JobCounts, Jobs};
pub use leases::{Lease, Leases};
pub use moves::Moves;
pub use objects::Objects;
pub use overrides::{OverrideRecord, Overrides};
pub use packs::{PackId, PackRecord, Packs, SealedPack, XorbForm, XorbRecord};
pub use policies::{HUB_LEVEL, Policies, PolicyRecord};
pub use quarantine::{Doubtful, DoubtfulPlace, Quarantine};
pub use readings::Readings;
pub use recodes::{MAX_DEPTH, Makeup, NewPlace, Recodes};
pub use refs::{RefRecord, Refs};
pub use removal::Removal;
pub(crate) use removal::Stored;
pub use repos::{RepoKey, RepoKind, RepoQuery, RepoRecord, RepoSort, Repos, Viewer};
pub use retention::{Retention, RetentionRecord};
pub use settings::Settings;
pub use tensors::{RepoSource, SourceId, TensorPlace, TensorRecord, TensorSighting, Tensors};
pub use tokens::{Scope, TokenRecord, Tokens};
pub use uploads::{UploadRecord, Uploads};
pub use usage::{BLOCK_BYTES, HubTotals, RepoTotal, Usage, XorbUse};
pub use verdicts::{NewVerdict, VerdictRecord, Verdicts};

/// Schema steps; each is applied once, in order, at start.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001.sql"),
    include_str!("migrations/0002.sql"),
    include_str!("migrations/0003.sql"),
    include_str!("migrations/0004.sql"),
    include_str!("migrations/0005.sql"),
    include_str!("migrations/0006.sql"),
    include_str!("migrations/0007.sql"),
    include_str!("migrations/0008.sql"),
    include_str!("migrations/0009.sql"),
];

/// How long a statement waits for another writer before the caller is told to come back.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Names, history and locations: everything but the bytes.
#[derive(Clone, Debug)]
pub struct Catalog {
    pool: AnyPool,
    engine: Engine,
    trees: Arc<objects::TreeCache>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    Sqlite,
    Postgres,
}

impl Catalog {
    /// Opens or creates an SQLite file.
    pub async fn sqlite(file: &Path) -> Result<Self, StoreError> {
        let escaped = file.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        Self::open(Engine::Sqlite, &format!("sqlite://{escaped}?mode=rwc"), 8).await
    }

    /// Connects to PostgreSQL by `postgres://…`.
    pub async fn postgres(url: &str) -> Result<Self, StoreError> {
        Self::open(Engine::Postgres, url, 16).await
    }

    async fn open(engine: Engine, url: &str, connections: u32) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let pool = AnyPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(BUSY_TIMEOUT)
            .test_before_acquire(engine == Engine::Postgres)
            .after_connect(move |connection, _| Box::pin(prepare_connection(engine, connection)))
            .connect(url)
            .await
            .map_err(StoreError::database("opening the catalog"))?;
        let catalog = Self { pool, engine, trees: Arc::new(objects::tree_cache()) };
        catalog.migrate().await?;
        Ok(catalog)
    }

    /// How xorbs are coded.
    pub fn coding(&self) -> Coding<'_> {
        Coding(self)
    }
    /// Settings of this hub.
    pub fn settings(&self) -> Settings<'_> {
        Settings(self)
    }
    /// Users, organisations and their members.
    pub fn accounts(&self) -> Accounts<'_> {
        Accounts(self)
    }
    /// Advisories and what they concern.
    pub fn advisories(&self) -> Advisories<'_> {
        Advisories(self)
    }
    /// Access tokens.
    pub fn tokens(&self) -> Tokens<'_> {
        Tokens(self)
    }
    /// Repositories.
    pub fn repos(&self) -> Repos<'_> {
        Repos(self)
    }
    /// Branches, tags and other refs.
    pub fn refs(&self) -> Refs<'_> {
        Refs(self)
    }
    /// Commits of repositories.
    pub fn commits(&self) -> Commits<'_> {
        Commits(self)
    }
    /// Git trees.
    pub fn objects(&self) -> Objects<'_> {
        Objects(self)
    }
    /// File contents and the blobs that stand for them.
    pub fn contents(&self) -> Contents<'_> {
        Contents(self)
    }
    /// Packs and the xorbs in them.
    pub fn packs(&self) -> Packs<'_> {
        Packs(self)
    }
    /// Work that waits for a worker.
    pub fn jobs(&self) -> Jobs<'_> {
        Jobs(self)
    }
    /// Comparisons of two checkpoints.
    pub fn comparisons(&self) -> Comparisons<'_> {
        Comparisons(self)
    }
    /// Checkpoints in another form, made on demand.
    pub fn conversions(&self) -> Conversions<'_> {
        Conversions(self)
    }
    /// Xorbs coded anew.
    pub fn recodes(&self) -> Recodes<'_> {
        Recodes(self)
    }
    /// What readers found in trees of files.
    pub fn readings(&self) -> Readings<'_> {
        Readings(self)
    }
    /// The tensor index.
    pub fn tensors(&self) -> Tensors<'_> {
        Tensors(self)
    }
    /// Policies of the hub and of organisations.
    pub fn policies(&self) -> Policies<'_> {
        Policies(self)
    }
    /// Files that an administrator vouched for.
    pub fn overrides(&self) -> Overrides<'_> {
        Overrides(self)
    }
    /// The audit log.
    pub fn audit(&self) -> Audit<'_> {
        Audit(self)
    }
    /// Files that are not safe, and who has them.
    pub fn quarantine(&self) -> Quarantine<'_> {
        Quarantine(self)
    }
    /// What was decided in the last days.
    pub fn decisions(&self) -> Decisions<'_> {
        Decisions(self)
    }
    /// What the collector of garbage reads.
    pub fn garbage(&self) -> Garbage<'_> {
        Garbage(self)
    }
    /// What the collector of garbage writes.
    pub fn removal(&self) -> Removal<'_> {
        Removal(self)
    }
    /// When packs were checked.
    pub fn checks(&self) -> Checks<'_> {
        Checks(self)
    }
    /// What repositories keep.
    pub fn retention(&self) -> Retention<'_> {
        Retention(self)
    }
    /// How much is stored.
    pub fn usage(&self) -> Usage<'_> {
        Usage(self)
    }
    /// Xorbs that move to another place.
    pub fn moves(&self) -> Moves<'_> {
        Moves(self)
    }
    /// Work that one process at a time may do.
    pub fn leases(&self) -> Leases<'_> {
        Leases(self)
    }
    /// Git LFS uploads under way.
    pub fn uploads(&self) -> Uploads<'_> {
        Uploads(self)
    }

    /// Verdicts of the scanner.
    pub fn verdicts(&self) -> Verdicts<'_> {
        Verdicts(self)
    }

    /// Answers when the database does.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.pool).await.map_err(StoreError::database("asking the catalog"))?;
        Ok(())
    }

    /// Finishes what is under way and closes all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Begins a transaction that writes. On SQLite it takes the writer's lock at once, so that two writers
    /// queue instead of failing half-way.
    async fn write(&self) -> Result<Transaction<'static, Any>, StoreError> {
        let begin = match self.engine {
            Engine::Sqlite => "BEGIN IMMEDIATE",
            Engine::Postgres => "BEGIN",
        };
        self.pool.begin_with(begin).await.map_err(StoreError::database("beginning a change"))
    }

    /// What a statement finds that is put together anew each time, and asks for values from `$1`.
    async fn ask(&self, what: &'static str, sql: String, values: &[String]) -> Result<Vec<AnyRow>, StoreError> {
        let query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
        let query = values.iter().fold(query, |q, value| q.bind(value));
        query.fetch_all(&self.pool).await.map_err(StoreError::database(what))
    }

    /// What a statement finds that asks for keys after an `IN`, for any number of keys, in no particular order.
    ///
    /// - `statement`: its text before and after the list of keys
    async fn look_up<K: ToString, T>(
        &self,
        what: &'static str,
        statement: (&str, &str),
        keys: &[K],
        read: impl Fn(&AnyRow) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        self.look_up_in(what, statement, &[], keys, read).await
    }

    /// The same with values that the statement asks for beside the keys, from `$1`.
    async fn look_up_in<K: ToString, T>(
        &self,
        what: &'static str,
        (head, tail): (&str, &str),
        values: &[&str],
        keys: &[K],
        read: impl Fn(&AnyRow) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut found = Vec::new();
        for batch in keys.chunks(LOOKUP_KEYS) {
            let sql = format!("{head} ({}){tail}", placeholders(values.len() + 1, batch.len()));
            // Single keys come again and again; the rest would only fill the cache of statements.
            let query = sqlx::query(AssertSqlSafe(sql)).persistent(batch.len() == 1);
            let query = values.iter().fold(query, |q, value| q.bind((*value).to_owned()));
            let rows = batch
                .iter()
                .fold(query, |q, key| q.bind(key.to_string()))
                .fetch_all(&self.pool)
                .await
                .map_err(StoreError::database(what))?;
            for row in &rows {
                found.push(read(row)?);
            }
        }
        Ok(found)
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        let failed = "migrating the catalog";
        let mut tx = self.write().await?;
        if self.engine == Engine::Postgres {
            // Two servers may start together; the number is this program's own.
            tx.execute("SELECT pg_advisory_xact_lock(7070)").await.map_err(StoreError::database(failed))?;
        }
        tx.execute("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")
            .await
            .map_err(StoreError::database(failed))?;
        let found: Option<i64> = sqlx::query_scalar("SELECT version FROM schema_version")
            .fetch_optional(&mut *tx)
            .await
            .map_err(StoreError::database(failed))?;
        let known = MIGRATIONS.len() as i64;
        let found = found.unwrap_or(0);
        if found > known {
            return Err(StoreError::TooNew { found, known });
        }
        let bytes = match self.engine {
            Engine::Sqlite => "BLOB",
            Engine::Postgres => "BYTEA",
        };
        for step in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
            // Statement by statement: the driver prepares each, and PostgreSQL prepares only single ones.
            let step: String = step.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join("\n");
            for statement in step.split(';').map(str::trim).filter(|s| !s.is_empty()) {
                let statement = statement.replace("{bytes}", bytes);
                sqlx::query(AssertSqlSafe(statement)).execute(&mut *tx).await.map_err(StoreError::database(failed))?;
            }
        }
        tx.execute("DELETE FROM schema_version").await.map_err(StoreError::database(failed))?;
        sqlx::query("INSERT INTO schema_version (version) VALUES ($1)")
            .bind(known)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(failed))?;
        tx.commit().await.map_err(StoreError::database(failed))
    }
}

async fn prepare_connection(engine: Engine, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    if engine == Engine::Sqlite {
        let busy_ms = BUSY_TIMEOUT.as_millis();
        connection.execute(AssertSqlSafe(format!("PRAGMA busy_timeout = {busy_ms}"))).await?;
        // FULL: an acknowledged commit survives a power cut, not only a killed process.
        for pragma in ["PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "PRAGMA cache_size = -4096"] {
            connection.execute(pragma).await?;
        }
    }
    Ok(())
}

/// Values that SQLite takes in one statement. It finds each `$n` by going through the names of all others, once when it
/// prepares the statement and once when values are bound, so that the cost of a value grows with their number.
const SQLITE_VALUES: usize = 128;
/// Values that PostgreSQL takes in one statement; there the round trips count.
const POSTGRES_VALUES: usize = 8_000;
/// Keys looked up with one statement: the same on both sides, between the two reasons.
pub(crate) const LOOKUP_KEYS: usize = 256;

/// Inserts rows in batches: `head` is the statement up to `VALUES`, `tail` the conflict clause. Returns how many were
/// inserted or changed.
async fn insert_rows<'q, R>(
    tx: &mut Transaction<'static, Any>,
    what: &'static str,
    (head, columns, tail): (&'static str, usize, &'static str),
    rows: &'q [R],
    bind: impl Fn(Query<'q>, &'q R) -> Query<'q>,
) -> Result<u64, StoreError> {
    let mut inserted = 0;
    let values = if tx.backend_name() == "SQLite" { SQLITE_VALUES } else { POSTGRES_VALUES };
    let full = values / columns;
    for batch in rows.chunks(full) {
        let row = |r: usize| {
            let values: Vec<_> = (1..=columns).map(|c| format!("${}", r * columns + c)).collect();
            format!("({})", values.join(","))
        };
        let values: Vec<_> = (0..batch.len()).map(row).collect();
        let query = sqlx::query(AssertSqlSafe(format!("{head} VALUES {} {tail}", values.join(","))));
        // Single rows and full batches come again and again; the rest of one would only fill the cache of statements.
        let query = batch.iter().fold(query.persistent(batch.len() == 1 || batch.len() == full), &bind);
        inserted += query.execute(&mut **tx).await.map_err(StoreError::database(what))?.rows_affected();
    }
    Ok(inserted)
}

/// `$first, …` for `count` values.
fn placeholders(first: usize, count: usize) -> String {
    (first..first + count).map(|i| format!("${i}")).collect::<Vec<_>>().join(",")
}

type Query<'q> = sqlx::query::Query<'q, Any, <Any as sqlx::Database>::Arguments>;

fn text(row: &AnyRow, column: &str) -> Result<String, StoreError> {
    row.try_get(column).map_err(StoreError::database("reading the catalog"))
}

fn number(row: &AnyRow, column: &str) -> Result<i64, StoreError> {
    row.try_get(column).map_err(StoreError::database("reading the catalog"))
}

fn size(row: &AnyRow, column: &str) -> Result<u64, StoreError> {
    let value = number(row, column)?;
    u64::try_from(value).map_err(|_| damaged(column, &value.to_string()))
}

/// A text column that holds a digest, a name of a choice, or anything else that parses.
fn parsed<T: FromStr>(row: &AnyRow, column: &str) -> Result<T, StoreError> {
    let text = text(row, column)?;
    text.parse().map_err(|_| damaged(column, &text))
}

fn damaged(column: &str, value: &str) -> StoreError {
    StoreError::Corrupt { what: format!("catalog column `{column}`"), detail: format!("it holds `{value}`") }
}

/// A fresh random identifier: 24 hexadecimal digits.
pub fn fresh_id() -> Result<String, StoreError> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).map_err(|e| StoreError::Task(format!("no randomness: {e}")))?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
impl Catalog {
    /// Rows of a table, for tests.
    pub(crate) async fn count(&self, table: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"))).fetch_one(&self.pool).await.unwrap()
    }

    /// Damage of a test's own making.
    pub(crate) async fn run_sql(&self, sql: &str) {
        sqlx::query(AssertSqlSafe(sql.to_owned())).execute(&self.pool).await.unwrap();
    }

    /// Says that a xorb needs a content.
    pub(crate) async fn set_makeup(
        &self,
        xorb: &weighthouse_format::xet::hash::XetHash,
        codec: &str,
        base: &crate::digest::Sha256,
    ) {
        self.run_sql(&format!(
            "INSERT INTO xorb_makeup (xorb, codec, base, raw, stored) VALUES ('{xorb}', '{codec}', '{base}', 10, 2)"
        ))
        .await;
    }

    /// Says that a xorb needs nothing.
    pub(crate) async fn clear_makeup(&self, xorb: &weighthouse_format::xet::hash::XetHash) {
        self.run_sql(&format!("DELETE FROM xorb_makeup WHERE xorb = '{xorb}'")).await;
    }
}
