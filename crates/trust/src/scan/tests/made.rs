//! Files for tests: archives right and wrong, and pickles out of opcodes.

/// What the two descriptions of a zip member say, where they are to differ from the truth.
#[derive(Clone, Default)]
pub(super) struct Lies {
    pub(super) local_name: Option<String>,
    pub(super) local_flags: u16,
    pub(super) flags: u16,
    pub(super) crc: Option<u32>,
    pub(super) deflate: bool,
    pub(super) link: bool,
    pub(super) header: Option<u32>,
    pub(super) size: Option<u32>,
}

/// A zip, member by member.
#[derive(Default)]
pub(super) struct Zip {
    pub(super) bytes: Vec<u8>,
    directory: Vec<u8>,
    count: u32,
}

impl Zip {
    pub(super) fn add(self, name: &str, data: &[u8]) -> Self {
        self.lie(name, data, &Lies::default())
    }

    pub(super) fn lie(mut self, name: &str, data: &[u8], lies: &Lies) -> Self {
        let stored = if lies.deflate { miniz_oxide::deflate::compress_to_vec(data, 6) } else { data.to_vec() };
        let crc = lies.crc.unwrap_or_else(|| weighthouse_format::zip::crc(data));
        let method = if lies.deflate { 8u16 } else { 0 };
        let header = lies.header.unwrap_or(self.bytes.len() as u32);
        let size = lies.size.unwrap_or(data.len() as u32);
        let local_name = lies.local_name.as_deref().unwrap_or(name);
        if lies.header.is_none() {
            let out = &mut self.bytes;
            out.extend(b"PK\x03\x04\x14\0");
            out.extend(lies.local_flags.to_le_bytes());
            out.extend(method.to_le_bytes());
            out.extend([0; 4]);
            for value in [crc, stored.len() as u32, size] {
                out.extend(value.to_le_bytes());
            }
            out.extend((local_name.len() as u16).to_le_bytes());
            out.extend([0; 2]);
            out.extend(local_name.as_bytes());
            out.extend(&stored);
        }
        let out = &mut self.directory;
        out.extend(b"PK\x01\x02\x14\x03\x14\0");
        out.extend(lies.flags.to_le_bytes());
        out.extend(method.to_le_bytes());
        out.extend([0; 4]);
        for value in [crc, stored.len() as u32, size] {
            out.extend(value.to_le_bytes());
        }
        out.extend((name.len() as u16).to_le_bytes());
        out.extend([0; 8]);
        out.extend((if lies.link { 0xa1ff_0000u32 } else { 0 }).to_le_bytes());
        out.extend(header.to_le_bytes());
        out.extend(name.as_bytes());
        self.count += 1;
        self
    }

    pub(super) fn gap(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self
    }

    pub(super) fn finish(self) -> Vec<u8> {
        let Self { mut bytes, directory, count } = self;
        let begin = bytes.len() as u32;
        bytes.extend(&directory);
        bytes.extend(b"PK\x05\x06\0\0\0\0");
        bytes.extend([(count as u16).to_le_bytes(), (count as u16).to_le_bytes()].concat());
        bytes.extend((directory.len() as u32).to_le_bytes());
        bytes.extend(begin.to_le_bytes());
        bytes.extend([0; 2]);
        bytes
    }
}

/// An archive of `torch.save` with this pickle, and storages by key.
pub(super) fn torch(pickle: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = Zip::default().add("archive/data.pkl", pickle).add("archive/byteorder", b"little");
    for (key, bytes) in storages {
        zip = zip.add(&format!("archive/data/{key}"), bytes);
    }
    zip.add("archive/version", b"3\n").finish()
}

/// A pickle of a dictionary whose values are these runs of opcodes.
pub(super) fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut out = b"\x80\x02}".to_vec();
    for (key, value) in entries {
        out.push(b'X');
        out.extend((key.len() as u32).to_le_bytes());
        out.extend(key.as_bytes());
        out.extend(value);
        out.push(b's');
    }
    out.push(b'.');
    out
}

/// Opcodes of a tensor with `numel` floats in the storage with this key.
pub(super) fn tensor(key: &str, numel: u8) -> Vec<u8> {
    let mut out = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX".to_vec();
    out.extend((key.len() as u32).to_le_bytes());
    out.extend(key.as_bytes());
    out.extend(b"X\x03\0\0\0cpuK");
    out.push(numel);
    out.extend(b"tQK\0K");
    out.push(numel);
    out.extend(b"\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR");
    out
}

/// A pickle that calls a name with one short text.
pub(super) fn calls(module: &str, name: &str) -> Vec<u8> {
    let mut out = b"\x80\x04".to_vec();
    for text in [module, name] {
        out.push(0x8c);
        out.push(text.len() as u8);
        out.extend(text.as_bytes());
    }
    out.extend(b"\x93\x8c\x01x\x85R.");
    out
}

/// A tar of these members: name, type, content.
pub(super) fn tar(members: &[(&str, u8, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, kind, data) in members {
        let mut header = [0u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..135].copy_from_slice(format!("{:011o}", data.len()).as_bytes());
        header[156] = *kind;
        header[257..262].copy_from_slice(b"ustar");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        out.extend(header);
        out.extend(*data);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.extend([0; 1024]);
    out
}
