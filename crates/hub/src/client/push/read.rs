//! Files from the disk: once, in order, cut into chunks, and through SHA-256 on the way.

use std::fs::File;
use std::io::Read;
use std::sync::mpsc::sync_channel;

use bytes::{Bytes, BytesMut};
use sha1::Digest;
use tokio::sync::mpsc;
use weighthouse::format::xet::chunker::{Chunker, MAX_CHUNK};
use weighthouse::{GitOid, Sha256};

use super::super::error::ClientError;
use super::super::meter::Meter;
use super::super::stamp::Stamp;
use super::walk::LocalFile;

/// Bytes read at once.
const BLOCK_BYTES: usize = 4 << 20;
/// Blocks that may wait for SHA-256.
const WAITING_BLOCKS: usize = 2;

/// What is read, in file order.
#[derive(Debug)]
pub(super) enum ReadEvent {
    /// Consecutive chunks of one file.
    Chunks {
        /// Their bytes.
        data: Bytes,
        /// Where each of them ends in `data`.
        ends: Vec<usize>,
        /// The chunk before them in the file; `None` if they begin it.
        before: Option<Bytes>,
    },
    /// The file is complete and did not change meanwhile.
    End {
        /// Digest of its content.
        sha256: Sha256,
    },
}

/// Reads files one after the other until the receiver is gone. Blocks the thread.
pub(super) fn read_all(files: &[LocalFile], events: &mpsc::Sender<Result<ReadEvent, ClientError>>) {
    for file in files {
        let send = |event| events.blocking_send(Ok(event)).is_ok();
        match read_file(file, send) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                let _ = events.blocking_send(Err(error));
                return;
            }
        }
    }
}

/// Reads one file. `send` says whether anyone still listens; if not, the result is `false`.
fn read_file(file: &LocalFile, mut send: impl FnMut(ReadEvent) -> bool) -> Result<bool, ClientError> {
    let mut reader = open(file)?;
    let (blocks, to_hash) = sync_channel::<Bytes>(WAITING_BLOCKS);
    std::thread::scope(|scope| {
        let digest = scope.spawn(move || {
            let mut hasher = sha2::Sha256::new();
            to_hash.iter().for_each(|block| hasher.update(&block));
            Sha256(hasher.finalize().into())
        });
        let mut chunker = Chunker::new();
        let mut carried = Bytes::new();
        let mut before = None;
        loop {
            let block = reader.block(&carried)?;
            let fresh = block.slice(carried.len()..);
            if fresh.is_empty() {
                break;
            }
            // The thread ends only when the sender is dropped.
            let _ = blocks.send(fresh.clone());
            let mut ends = Vec::new();
            let mut at = 0;
            while let Some(step) = chunker.next_boundary(fresh.get(at..).unwrap_or_default()) {
                at += step;
                ends.push(carried.len() + at);
            }
            let end = ends.last().copied().unwrap_or(0);
            carried = Bytes::copy_from_slice(block.get(end..).unwrap_or_default());
            if end > 0 {
                let start = ends.iter().rev().nth(1).copied().unwrap_or(0);
                let last = block.slice(start..end);
                if !send(ReadEvent::Chunks { data: block.slice(..end), ends, before: before.replace(last) }) {
                    return Ok(false);
                }
            }
        }
        drop(blocks);
        if chunker.finish().is_some() {
            let ends = vec![carried.len()];
            if !send(ReadEvent::Chunks { data: carried, ends, before }) {
                return Ok(false);
            }
        }
        reader.finish()?;
        let sha256 = digest.join().map_err(|_| ClientError::Internal("hashing ended early".to_owned()))?;
        Ok(send(ReadEvent::End { sha256 }))
    })
}

/// SHA-256 of a file, read as a whole. Blocks the thread.
pub(super) fn sha256(file: &LocalFile, meter: &Meter) -> Result<Sha256, ClientError> {
    let mut hasher = sha2::Sha256::new();
    each_block(file, |block| {
        hasher.update(block);
        meter.add_bytes(block.len() as u64);
    })?;
    Ok(Sha256(hasher.finalize().into()))
}

/// Git's blob id of a file, read as a whole. Blocks the thread.
pub(super) fn git_oid(file: &LocalFile, meter: &Meter) -> Result<GitOid, ClientError> {
    let mut hasher = sha1::Sha1::new();
    hasher.update(format!("blob {}\0", file.stamp.size_bytes));
    each_block(file, |block| {
        hasher.update(block);
        meter.add_bytes(block.len() as u64);
    })?;
    Ok(GitOid(hasher.finalize().into()))
}

/// All of a small file. Blocks the thread.
pub(super) fn whole(file: &LocalFile) -> Result<Vec<u8>, ClientError> {
    let mut content = Vec::new();
    each_block(file, |block| content.extend_from_slice(block))?;
    Ok(content)
}

/// The first bytes of a file, at most `len`. Blocks the thread.
pub(super) fn sample(file: &LocalFile, len: usize) -> Result<Vec<u8>, ClientError> {
    let mut content = Vec::with_capacity(len);
    let opened = File::open(&file.place).and_then(|file| file.take(len as u64).read_to_end(&mut content));
    opened.map_err(|error| ClientError::local("reading", &file.place, error))?;
    Ok(content)
}

fn each_block(file: &LocalFile, mut take: impl FnMut(&[u8])) -> Result<(), ClientError> {
    let mut reader = open(file)?;
    loop {
        let block = reader.block(&[])?;
        if block.is_empty() {
            return reader.finish();
        }
        take(&block);
    }
}

/// An open file that must stay as it was found.
struct Reader<'a> {
    opened: File,
    file: &'a LocalFile,
    left_bytes: u64,
}

fn open(file: &LocalFile) -> Result<Reader<'_>, ClientError> {
    let failed = |error| ClientError::local("reading", &file.place, error);
    let opened = File::open(&file.place).map_err(failed)?;
    let reader = Reader { left_bytes: file.stamp.size_bytes, opened, file };
    reader.check()?;
    Ok(reader)
}

impl Reader<'_> {
    fn changed(&self) -> ClientError {
        ClientError::Changed { path: self.file.path.clone() }
    }

    fn check(&self) -> Result<(), ClientError> {
        let facts = self.opened.metadata().map_err(|error| ClientError::local("reading", &self.file.place, error))?;
        if Stamp::of(&facts) == self.file.stamp { Ok(()) } else { Err(self.changed()) }
    }

    /// The next bytes behind `carried`; nothing new at the end.
    fn block(&mut self, carried: &[u8]) -> Result<Bytes, ClientError> {
        let fresh = usize::try_from(self.left_bytes).unwrap_or(usize::MAX).min(BLOCK_BYTES - MAX_CHUNK);
        let mut block = BytesMut::with_capacity(carried.len() + fresh);
        block.extend_from_slice(carried);
        block.resize(carried.len() + fresh, 0);
        let room = block.get_mut(carried.len()..).unwrap_or_default();
        self.opened.read_exact(room).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => self.changed(),
            _ => ClientError::local("reading", &self.file.place, error),
        })?;
        self.left_bytes -= fresh as u64;
        Ok(block.freeze())
    }

    /// The file must not have grown or been written to.
    fn finish(self) -> Result<(), ClientError> {
        self.check()
    }
}

#[cfg(test)]
mod tests {
    use weighthouse::format::xet::hash::{chunk_hash, file_hash};

    use super::*;

    fn local(folder: &std::path::Path, content: &[u8]) -> LocalFile {
        let place = folder.join("file");
        std::fs::write(&place, content).unwrap();
        let stamp = Stamp::of(&place.metadata().unwrap());
        LocalFile { path: "file".into(), place, stamp }
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 88_172_645_463_325_252_u64;
        (0..len)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .collect()
    }

    #[test]
    fn a_file_is_cut_and_hashed_as_a_whole_would_be() {
        let folder = tempfile::tempdir().unwrap();
        let content = noise(3 * BLOCK_BYTES + 12_345);
        let file = local(folder.path(), &content);
        let (mut chunks, mut sha, mut joined, mut firsts) = (Vec::new(), None, Vec::new(), 0);
        let done = read_file(&file, |event| {
            match event {
                ReadEvent::Chunks { data, ends, before } => {
                    let mut start = 0;
                    for end in ends {
                        chunks.push((chunk_hash(&data[start..end]), (end - start) as u64));
                        start = end;
                    }
                    firsts += usize::from(before.is_none());
                    joined.extend_from_slice(&data);
                }
                ReadEvent::End { sha256 } => sha = Some(sha256),
            }
            true
        });
        assert!(done.unwrap() && joined == content);
        assert_eq!((sha, firsts), (Some(Sha256::of(&content)), 1));
        let mut expected = Vec::new();
        let (mut chunker, mut rest) = (Chunker::new(), content.as_slice());
        while let Some(len) = chunker.next_boundary(rest) {
            expected.push((chunk_hash(&rest[..len]), len as u64));
            rest = &rest[len..];
        }
        expected.push((chunk_hash(rest), rest.len() as u64));
        assert_eq!(file_hash(&chunks), file_hash(&expected));
        assert_eq!(sha256(&file, &Meter::new()).unwrap(), Sha256::of(&content));
    }

    #[test]
    fn a_file_that_changes_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let file = local(folder.path(), b"hello");
        std::fs::write(&file.place, b"hello, world").unwrap();
        assert!(matches!(read_file(&file, |_| true), Err(ClientError::Changed { .. })));
        let file = local(folder.path(), &noise(2 * BLOCK_BYTES));
        let grows = read_file(&file, |event| {
            if matches!(event, ReadEvent::Chunks { before: None, .. }) {
                std::fs::write(&file.place, b"shorter").unwrap();
            }
            true
        });
        assert!(matches!(grows, Err(ClientError::Changed { .. })));
    }

    #[test]
    fn git_names_a_file_as_git_does() {
        let folder = tempfile::tempdir().unwrap();
        let file = local(folder.path(), b"hello\n");
        assert_eq!(git_oid(&file, &Meter::new()).unwrap().to_string(), "ce013625030ba8dba906f756967f9e9ca394464a");
    }
}
