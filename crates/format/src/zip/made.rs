//! Archives for tests, right and wrong.

/// Writes an archive member by member.
#[derive(Default)]
pub(crate) struct Made {
    pub(crate) bytes: Vec<u8>,
    directory: Vec<u8>,
    count: u16,
}

/// What the two descriptions of a member say, where they are to differ from the truth.
#[derive(Clone, Default)]
pub(crate) struct Lies {
    pub(crate) local_name: Option<String>,
    pub(crate) local_flags: u16,
    pub(crate) central_flags: u16,
    pub(crate) local_crc: Option<u32>,
    pub(crate) size: Option<u32>,
    pub(crate) stored: Option<u32>,
    pub(crate) header: Option<u32>,
    pub(crate) deflate: bool,
}

impl Made {
    pub(crate) fn add(mut self, name: &str, data: &[u8]) -> Self {
        self.put(name, data, &Lies::default());
        self
    }

    pub(crate) fn lie(mut self, name: &str, data: &[u8], lies: &Lies) -> Self {
        self.put(name, data, lies);
        self
    }

    fn put(&mut self, name: &str, data: &[u8], lies: &Lies) {
        let stored = if lies.deflate { miniz_oxide::deflate::compress_to_vec(data, 9) } else { data.to_vec() };
        let crc = super::crc(data);
        let method = if lies.deflate { 8u16 } else { 0 };
        let header = lies.header.unwrap_or(self.bytes.len() as u32);
        let size = lies.size.unwrap_or(data.len() as u32);
        let stored_len = lies.stored.unwrap_or(stored.len() as u32);
        let local_name = lies.local_name.as_deref().unwrap_or(name);
        let out = &mut self.bytes;
        out.extend(b"PK\x03\x04\x14\0");
        out.extend(lies.local_flags.to_le_bytes());
        out.extend(method.to_le_bytes());
        out.extend([0; 4]);
        for value in [lies.local_crc.unwrap_or(crc), stored.len() as u32, data.len() as u32] {
            out.extend(value.to_le_bytes());
        }
        out.extend((local_name.len() as u16).to_le_bytes());
        out.extend([0; 2]);
        out.extend(local_name.as_bytes());
        out.extend(&stored);
        let out = &mut self.directory;
        out.extend(b"PK\x01\x02\x14\0\x14\0");
        out.extend(lies.central_flags.to_le_bytes());
        out.extend(method.to_le_bytes());
        out.extend([0; 4]);
        for value in [crc, stored_len, size] {
            out.extend(value.to_le_bytes());
        }
        out.extend((name.len() as u16).to_le_bytes());
        out.extend([0; 12]);
        out.extend(header.to_le_bytes());
        out.extend(name.as_bytes());
        self.count += 1;
    }

    pub(crate) fn gap(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        let Self { mut bytes, directory, count } = self;
        let begin = bytes.len() as u32;
        bytes.extend(&directory);
        bytes.extend(b"PK\x05\x06\0\0\0\0");
        bytes.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
        bytes.extend((directory.len() as u32).to_le_bytes());
        bytes.extend(begin.to_le_bytes());
        bytes.extend([0; 2]);
        bytes
    }

    /// With the 64-bit end record and locator.
    pub(crate) fn finish64(self) -> Vec<u8> {
        let Self { mut bytes, directory, count } = self;
        let begin = bytes.len() as u64;
        bytes.extend(&directory);
        let end64 = bytes.len() as u64;
        bytes.extend(b"PK\x06\x06");
        bytes.extend(44u64.to_le_bytes());
        bytes.extend([0; 12]);
        for value in [u64::from(count), u64::from(count), directory.len() as u64, begin] {
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend(b"PK\x06\x07\0\0\0\0");
        bytes.extend(end64.to_le_bytes());
        bytes.extend(1u32.to_le_bytes());
        bytes.extend(b"PK\x05\x06\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0");
        bytes
    }
}
