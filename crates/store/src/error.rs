//! What can go wrong at rest.

use weighthouse_format::FormatError;

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A ref points elsewhere than the caller believed.
    #[error("`{name}` has moved")]
    RefMoved {
        /// Full name of the ref.
        name: String,
    },
    /// What was read before a change is not so any more.
    #[error("{what}: try again")]
    Moved {
        /// What changed.
        what: String,
    },
    /// A unique name or key exists already.
    #[error("{what} exists already")]
    Exists {
        /// The thing that exists.
        what: String,
    },
    /// Bytes at rest are not what was written.
    #[error("{what} is damaged: {detail}")]
    Corrupt {
        /// The damaged object.
        what: String,
        /// What does not agree.
        detail: String,
    },
    /// Bytes handed in break a rule of their format.
    #[error(transparent)]
    Malformed(#[from] FormatError),
    /// The storage has no room left.
    #[error("the storage is full")]
    Full {
        /// The storage's own words.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another process holds the data folder.
    #[error("the data folder `{folder}` is in use by another process")]
    Locked {
        /// The folder.
        folder: String,
    },
    /// The catalog was written by a newer version.
    #[error("the catalog has schema version {found}; this program knows up to {known}")]
    TooNew {
        /// Version in the catalog.
        found: i64,
        /// Newest version this program knows.
        known: i64,
    },
    /// The database is locked, gone or refused a statement.
    #[error("{what}")]
    Database {
        /// What was attempted.
        what: &'static str,
        /// The driver's own words.
        source: sqlx::Error,
    },
    /// The byte storage failed.
    #[error("{what} `{key}`")]
    Storage {
        /// What was attempted.
        what: &'static str,
        /// Object or file concerned.
        key: String,
        /// The storage's own words.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A setting names a storage or database that cannot be used.
    #[error("{setting} `{value}`: {reason}")]
    Setting {
        /// Which setting.
        setting: &'static str,
        /// Its value.
        value: String,
        /// Why it cannot be used.
        reason: String,
    },
    /// What is named was collected before it could be kept.
    #[error("{what} was removed meanwhile: send it again")]
    Gone {
        /// What is gone.
        what: String,
    },
    /// A background task of ours died.
    #[error("an internal task failed: {0}")]
    Task(String),
}

/// What a caller can do about a [`StoreError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// State changed under the caller: read again.
    Conflict,
    /// Bytes at rest are wrong: raise the alarm.
    Corrupt,
    /// The input is wrong.
    Malformed,
    /// No room: free some, then repeat.
    Full,
    /// Repeat later.
    Transient,
    /// A fault of ours or of the set-up.
    Internal,
}

impl StoreError {
    /// What a caller can do about it.
    pub fn kind(&self) -> StoreErrorKind {
        match self {
            Self::RefMoved { .. } | Self::Moved { .. } | Self::Exists { .. } => StoreErrorKind::Conflict,
            Self::Corrupt { .. } => StoreErrorKind::Corrupt,
            Self::Malformed(_) => StoreErrorKind::Malformed,
            Self::Full { .. } => StoreErrorKind::Full,
            Self::Database { .. } | Self::Storage { .. } | Self::Gone { .. } => StoreErrorKind::Transient,
            Self::Locked { .. } | Self::TooNew { .. } | Self::Setting { .. } | Self::Task(_) => {
                StoreErrorKind::Internal
            }
        }
    }

    /// Names a failed database call, and tells a unique-key clash and a full disk from the rest.
    pub(crate) fn database(what: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| match &source {
            sqlx::Error::Database(e) if e.is_unique_violation() => Self::Exists { what: what.to_owned() },
            // SQLITE_FULL is 13 and PostgreSQL's disk_full is 53100.
            sqlx::Error::Database(e) if matches!(e.code().as_deref(), Some("13" | "53100")) => {
                Self::Full { source: Box::new(source) }
            }
            _ => Self::Database { what, source },
        }
    }

    /// Names a failed call to the byte storage, and tells a full disk from the rest.
    pub(crate) fn storage<E>(what: &'static str, key: &str) -> impl FnOnce(E) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let key = key.to_owned();
        move |source| {
            let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&source);
            while let Some(error) = cause {
                if let Some(io) = error.downcast_ref::<std::io::Error>()
                    && matches!(
                        io.kind(),
                        std::io::ErrorKind::StorageFull
                            | std::io::ErrorKind::QuotaExceeded
                            | std::io::ErrorKind::FileTooLarge
                    )
                {
                    return Self::Full { source: Box::new(source) };
                }
                cause = error.source();
            }
            Self::Storage { what, key, source: Box::new(source) }
        }
    }
}
