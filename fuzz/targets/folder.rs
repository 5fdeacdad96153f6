//! Folders and archives, cut from a fuzzer's bytes.

use std::collections::BTreeMap;

use weighthouse_format::source::MemoryFolder;
use weighthouse_format::{Folder, Section, zip};

/// Begins the line that names a file; what follows, up to the next such line, is in it.
const MARK: &[u8] = b"\n=> ";

/// A folder of one file.
pub fn one(name: &str, data: &[u8]) -> MemoryFolder {
    MemoryFolder::new(vec![Section::of_bytes(name, data)])
}

/// A folder of the files that the bytes name: `=> NAME`, a line feed, and the content.
///
/// `=> NAME!MEMBER` is a member of the zip archive `NAME`, so that a change of it leaves the archive right.
pub fn cut(data: &[u8]) -> MemoryFolder {
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut archives: BTreeMap<String, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
    for (name, content) in parts(data) {
        match name.split_once('!') {
            Some((archive, member)) => {
                archives.entry(archive.to_owned()).or_default().insert(member.to_owned(), content)
            }
            None => files.insert(name, content),
        };
    }
    files.extend(archives.into_iter().map(|(name, members)| (name, zipped(&folder(members)))));
    folder(files)
}

fn folder(files: BTreeMap<String, Vec<u8>>) -> MemoryFolder {
    MemoryFolder::new(files.into_iter().map(|(name, content)| Section::of_bytes(name, content)).collect())
}

/// Names and contents, in order.
fn parts(data: &[u8]) -> Vec<(String, Vec<u8>)> {
    let data = [b"\n", data].concat();
    let mut marks: Vec<usize> =
        data.windows(MARK.len()).enumerate().filter(|(_, part)| *part == MARK).map(|(at, _)| at).collect();
    marks.push(data.len());
    let mut found = Vec::new();
    for ends in marks.windows(2) {
        let &[begin, end] = ends else { continue };
        let Some(part) = data.get(begin + MARK.len()..end) else { continue };
        let line = part.iter().position(|&byte| byte == b'\n').unwrap_or(part.len());
        let (name, content) = part.split_at(line);
        found.push((String::from_utf8_lossy(name).into_owned(), content.get(1..).unwrap_or_default().to_vec()));
    }
    found
}

/// A zip archive of the folder, nothing compressed, everything right.
pub fn zipped(folder: &dyn Folder) -> Vec<u8> {
    let (mut bytes, mut directory, mut count) = (Vec::new(), Vec::new(), 0u16);
    for file in folder.files() {
        let Ok(data) = folder.open(&file.path).and_then(|section| section.read("file", 0, section.len())) else {
            continue;
        };
        let name = file.path.as_bytes();
        let (Ok(name_len), Ok(len)) = (u16::try_from(name.len()), u32::try_from(data.len())) else { continue };
        let begin = bytes.len() as u32;
        let mut common = vec![0; 10];
        for value in [zip::crc(&data), len, len] {
            common.extend(value.to_le_bytes());
        }
        common.extend(name_len.to_le_bytes());
        common.extend([0; 2]);
        bytes.extend(b"PK\x03\x04");
        bytes.extend([&common, name, &data].concat());
        directory.extend(b"PK\x01\x02\0\0");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(begin.to_le_bytes());
        directory.extend(name);
        count += 1;
    }
    let (begin, len) = (bytes.len() as u32, directory.len() as u32);
    bytes.extend(directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    bytes.extend([len.to_le_bytes(), begin.to_le_bytes()].concat());
    bytes.extend([0; 2]);
    bytes
}
