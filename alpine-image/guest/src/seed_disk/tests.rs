//! Images as the manager makes them and the guest finds them.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;

use super::*;

/// Content in which no two places look alike.
fn content(length: usize) -> Vec<u8> {
    (0..length as u32)
        .flat_map(|position| (position / 4).wrapping_mul(2_654_435_761).to_le_bytes())
        .take(length)
        .collect()
}

fn image_of(files: &[(&str, &[u8])]) -> Cursor<Vec<u8>> {
    Cursor::new(image(files).expect("an image"))
}

#[test]
fn what_was_written_is_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("seed.img");
    let upstreams = content(2 << 20);
    let files: [(&str, &[u8]); 5] = [
        ("meta-data", b"instance-id: a-lb.7\n"),
        ("network-config", b"version: 2\n"),
        ("user-data", b""),
        ("holdfast.json", &upstreams),
        ("a file with quite a long name, far longer than eight and three.json", b"{}"),
    ];
    write(&path, &files).expect("written");
    let image = File::open(&path).expect("the image");
    assert!(is_seed(&image));
    for (name, content) in files {
        assert!(read(&image, name).expect("read") == content, "{name}");
    }
    let metadata = image.metadata().expect("metadata");
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
    assert_eq!(metadata.len(), 3 << 20, "2 MiB of content, rounded up");
}

#[test]
fn every_size_fits() {
    for length in [0, 1, 511, 4096, 4097, 900_000, 1 << 20, (15 << 20) / 2, LARGEST_FILE - 1, LARGEST_FILE] {
        let content = content(length);
        let image = image_of(&[("meta-data", b"x"), ("holdfast.json", &content), ("user-data", &content)]);
        assert!(image.get_ref().len() >= 1 << 20);
        assert!(read(image.clone(), "holdfast.json").expect("read") == content, "{length}");
        assert!(read(image, "USER-DATA").expect("read") == content, "{length}");
    }
}

/// Images grow by steps; just before each step they are as full as they get. From 16 MiB on the tables
/// have entries of 16 bits instead of 12.
#[test]
fn full_images_hold_all_they_were_sized_for() {
    for mebibytes in [1, 2, 3, 9, 15, 16, 17] {
        let per_cluster = CLUSTER as usize + TABLES_PER_CLUSTER;
        let clusters = (mebibytes * IMAGE_STEP - FIXED) / per_cluster;
        let content = content(clusters * CLUSTER as usize);
        let parts: Vec<_> = content.chunks(LARGEST_FILE).collect();
        let names: Vec<_> = (0..parts.len()).map(|part| format!("part-{part}")).collect();
        let files: Vec<_> = names.iter().map(String::as_str).zip(parts).collect();
        let image = image_of(&files);
        assert_eq!(image.get_ref().len(), mebibytes * IMAGE_STEP);
        let all: Vec<_> = names.iter().flat_map(|name| read(image.clone(), name).expect("read")).collect();
        assert!(all == content, "{mebibytes} MiB");
    }
}

#[test]
fn the_label_is_where_all_readers_look() {
    let mut image = image_of(&[("meta-data", b"x")]);
    let volume = FileSystem::new(&mut image, FsOptions::new()).expect("a volume");
    assert_eq!(volume.volume_label(), "CIDATA");
    assert_eq!(volume.read_volume_label_from_root_dir().expect("read").as_deref(), Some("CIDATA"));
    assert!(!volume.read_status_flags().expect("flags").dirty());
}

#[test]
fn other_disks_are_no_seeds() {
    let mut data = Cursor::new(vec![0; 1 << 20]);
    fatfs::format_volume(&mut data, FormatVolumeOptions::new().volume_label(*b"DATA       "))
        .expect("formatted");
    let mut without_signature = image_of(&[("meta-data", b"x")]);
    without_signature.get_mut()[SECTOR - 1] = 0;
    for other in
        [data, without_signature, Cursor::new(content(1 << 20)), Cursor::new(vec![0; 100]), Cursor::default()]
    {
        assert!(!is_seed(other.clone()));
        assert!(matches!(read(other, "holdfast.json"), Err(SeedError::NotASeed)));
    }
}

#[test]
fn a_large_volume_is_known_by_its_label_too() {
    let mut large = Cursor::new(vec![0; 64 << 20]);
    let format = FormatVolumeOptions::new().bytes_per_cluster(512).volume_label(*LABEL);
    fatfs::format_volume(&mut large, format).expect("formatted");
    assert_eq!(
        FileSystem::new(&mut large, FsOptions::new()).expect("a volume").fat_type(),
        fatfs::FatType::Fat32
    );
    assert!(is_seed(&mut large));
    assert!(matches!(read(large, "holdfast.json"), Err(SeedError::NoFile(_))));
}

#[test]
fn a_missing_file_is_named() {
    let error = read(image_of(&[("meta-data", b"x")]), "holdfast.json").expect_err("missing");
    assert_eq!(error.to_string(), "the seed disk has no file holdfast.json");
}

#[test]
fn a_truncated_image_is_refused_wherever_it_ends() {
    let whole = image_of(&[("holdfast.json", &content(300_000))]).into_inner();
    for length in (0..whole.len()).step_by(997).chain([SECTOR - 1, SECTOR, whole.len() - 1]) {
        let cut = Cursor::new(whole[..length].to_vec());
        let error = read(cut, "holdfast.json").expect_err("truncated").to_string();
        let expected = if length < SECTOR {
            SeedError::NotASeed.to_string()
        } else {
            format!("the seed disk is damaged: it has {length} of its 1048576 bytes")
        };
        assert_eq!(error, expected);
    }
}

#[test]
fn a_broken_chain_of_clusters_is_no_shorter_file() {
    let mut image = image_of(&[("holdfast.json", &content(300_000))]);
    // The first entries of the first table, in twelve bits each: two of the format's own, then the file.
    image.get_mut()[SECTOR + 3..][..3].copy_from_slice(&[0xff, 0xff, 0xff]);
    let error = read(image, "holdfast.json").expect_err("damaged");
    assert_eq!(error.to_string(), "the seed disk is damaged: holdfast.json has 4096 of its 300000 bytes");
}

#[test]
fn a_boast_of_size_is_not_believed() {
    let mut image = image_of(&[("holdfast.json", b"{}")]);
    let name = b"HOLDFA~1JSO";
    let entry = image.get_ref().windows(11).position(|window| window == name).expect("the entry");
    image.get_mut()[entry + 28..][..4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(read(image, "holdfast.json"), Err(SeedError::TooLarge { .. })));
}

#[test]
fn an_image_is_never_written_over_another_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("seed.img");
    fs::write(&path, "somebody's").expect("written");
    assert_eq!(write(&path, &[]).expect_err("refused").kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&path).expect("read"), b"somebody's");
}

#[test]
fn what_fat_cannot_hold_is_refused() {
    let large = vec![0; LARGEST_FILE + 1];
    for (files, reason) in [
        (&[("a/b", &b"x"[..])][..], "a/b: a seed has no directories"),
        (&[("user-data", b"x"), ("User-Data", b"y")], "User-Data: FAT takes two of the files for the same"),
        (&[("user-data", &large)], "user-data: 8388609 bytes, of at most 8388608"),
    ] {
        assert_eq!(image(files).expect_err("refused").to_string(), reason);
    }
    assert!(image(&[("what?", b"x")]).is_err());
}
