//! Reads from the first bytes of a disk what its owner calls it, and what tells it from others: ext2 to ext4 (the kernel's
//! Documentation/filesystems/ext4, super block), FAT (the specification's boot sector), exFAT and NTFS (their boot sectors).

/// A file system, as far as its beginning tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Volume {
    /// Its name, without what could not be in a file's; empty where it has none, or keeps it elsewhere.
    pub label: String,
    /// Its kind and the number that was drawn when it was made.
    pub id: String,
}

/// So many bytes are enough to know it.
pub const BEGIN: u64 = 4_096;

impl Volume {
    /// `None` for what is not known, or cut short.
    pub fn read(begin: &[u8]) -> Option<Self> {
        if begin.get(EXT + 0x38..EXT + 0x3a)? == EXT_MAGIC {
            return Self::new("ext", begin.get(EXT + 0x68..EXT + 0x78)?, begin.get(EXT + 0x78..EXT + 0x88)?);
        }
        if begin.get(510..512)? != BOOT_MAGIC {
            return None;
        }
        match (begin.get(3..11)?, begin.get(54..59)?, begin.get(82..87)?) {
            (b"EXFAT   ", ..) => Self::new("exfat", begin.get(100..104)?, &[]),
            (b"NTFS    ", ..) => Self::new("ntfs", begin.get(72..80)?, &[]),
            (.., b"FAT32") => Self::new("fat", begin.get(67..71)?, begin.get(71..82)?),
            (_, b"FAT12" | b"FAT16", _) => Self::new("fat", begin.get(39..43)?, begin.get(43..54)?),
            _ => None,
        }
    }

    fn new(kind: &str, number: &[u8], label: &[u8]) -> Option<Self> {
        let end = label.iter().position(|byte| *byte == 0).unwrap_or(label.len());
        let label = String::from_utf8_lossy(&label[..end]);
        let label: String = label.chars().filter(|c| !c.is_control() && *c != '/').collect();
        let label = match label.trim() {
            // What FAT says for none, and what no file is called.
            "NO NAME" | "." | ".." => String::new(),
            label => label.to_owned(),
        };
        Some(Self { label, id: format!("{kind}-{}", data_encoding::HEXLOWER.encode(number)) })
    }
}

/// Where the super block begins.
const EXT: usize = 1_024;
const EXT_MAGIC: [u8; 2] = [0x53, 0xef];
const BOOT_MAGIC: [u8; 2] = [0x55, 0xaa];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn disk(parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut begin = vec![0; BEGIN as usize];
        for (at, bytes) in parts {
            begin[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        begin
    }

    #[test]
    fn labels_and_numbers_are_read() {
        let ext4 = disk(&[(0x438, &EXT_MAGIC), (0x468, &[0xab; 16]), (0x478, b"photos of 2019\0")]);
        let ext4 = Volume::read(&ext4).unwrap();
        assert_eq!((&ext4.label[..], &ext4.id[..]), ("photos of 2019", "ext-abababababababababababababababab"));
        let fat = disk(&[(510, &BOOT_MAGIC), (67, &[1, 2, 3, 4]), (71, b"CAMERA     "), (82, b"FAT32   ")]);
        assert_eq!(Volume::read(&fat), Some(Volume { label: "CAMERA".into(), id: "fat-01020304".into() }));
        let small = disk(&[(510, &BOOT_MAGIC), (39, &[9; 4]), (43, b"NO NAME    "), (54, b"FAT16   ")]);
        assert_eq!(Volume::read(&small), Some(Volume { label: "".into(), id: "fat-09090909".into() }));
        let exfat = disk(&[(510, &BOOT_MAGIC), (3, b"EXFAT   "), (100, &[7; 4])]);
        assert_eq!(Volume::read(&exfat).unwrap().id, "exfat-07070707");
        let ntfs = disk(&[(510, &BOOT_MAGIC), (3, b"NTFS    "), (72, &[7; 8])]);
        assert_eq!(Volume::read(&ntfs).unwrap().id, "ntfs-0707070707070707");
    }

    #[test]
    fn a_label_is_a_files_name_or_none() {
        let named = |label: &[u8]| Volume::read(&disk(&[(0x438, &EXT_MAGIC), (0x478, label)])).unwrap().label;
        assert_eq!(named(b"../../etc"), "....etc");
        assert_eq!(named(b".."), "");
        assert_eq!(named(b"a\x1b[2Jb\n"), "a[2Jb");
    }

    proptest! {
        #[test]
        fn whatever_lies_there_is_no_reason_to_panic(begin in proptest::collection::vec(any::<u8>(), 0..1_200), at in 0..1_100usize) {
            let mut begin = begin;
            for (from, bytes) in [(0x438, &EXT_MAGIC[..]), (510, &BOOT_MAGIC), (82, b"FAT32")] {
                if at % 3 == 0 && begin.len() >= from + bytes.len() {
                    begin[from..from + bytes.len()].copy_from_slice(bytes);
                }
            }
            if let Some(volume) = Volume::read(&begin) {
                prop_assert!(!volume.label.contains('/') && !volume.label.contains('\n'));
            }
        }
    }
}
