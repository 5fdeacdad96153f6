//! The catalog: one set of SQL over SQLite and PostgreSQL, split by aggregate.

/// A statement assembled from constants of this crate.
macro_rules! sql {
    ($text:literal) => {
        sqlx::AssertSqlSafe(format!($text))
    };
}
mod accounts;
mod commits;
mod comparisons;
mod contents;
mod conversions;
pub mod jobs;
mod objects;
mod packs;
mod readings;
mod refs;
mod repos;
mod settings;
mod tensors;
mod tokens;
mod uploads;

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
pub use commits::{Commits, NewCommit};
pub use comparisons::{ComparedSide, ComparisonRecord, Comparisons, NewComparison};
pub use contents::{BlobRecord, Content, ContentRecord, Contents};
pub use conversions::{ConversionKey, ConversionOutput, ConversionRecord, Conversions, NewConversion};
pub use jobs::{Job, Jobs};
pub use objects::Objects;
pub use packs::{PackId, Packs, SealedPack, XorbRecord};
pub use readings::Readings;
pub use refs::{RefRecord, Refs};
pub use repos::{RepoKey, RepoKind, RepoQuery, RepoRecord, RepoSort, Repos, Viewer};
pub use settings::Settings;
pub use tensors::{RepoSource, SourceId, TensorPlace, TensorRecord, Tensors};
pub use tokens::{Scope, TokenRecord, Tokens};
pub use uploads::{UploadRecord, Uploads};

/// Schema steps; each is applied once, in order, at start.
const MIGRATIONS: &[&str] =
    &[include_str!("migrations/0001.sql"), include_str!("migrations/0002.sql"), include_str!("migrations/0003.sql")];

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

    /// Settings of this hub.
    pub fn settings(&self) -> Settings<'_> {
        Settings(self)
    }
    /// Users, organisations and their members.
    pub fn accounts(&self) -> Accounts<'_> {
        Accounts(self)
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
    /// What readers found in trees of files.
    pub fn readings(&self) -> Readings<'_> {
        Readings(self)
    }
    /// The tensor index.
    pub fn tensors(&self) -> Tensors<'_> {
        Tensors(self)
    }
    /// Git LFS uploads under way.
    pub fn uploads(&self) -> Uploads<'_> {
        Uploads(self)
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
const LOOKUP_KEYS: usize = 256;

/// Inserts rows in batches: `head` is the statement up to `VALUES`, `tail` the conflict clause.
async fn insert_rows<'q, R>(
    tx: &mut Transaction<'static, Any>,
    what: &'static str,
    (head, columns, tail): (&'static str, usize, &'static str),
    rows: &'q [R],
    bind: impl Fn(Query<'q>, &'q R) -> Query<'q>,
) -> Result<(), StoreError> {
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
        query.execute(&mut **tx).await.map_err(StoreError::database(what))?;
    }
    Ok(())
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
