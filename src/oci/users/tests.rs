#![allow(clippy::unwrap_used)]

use super::*;
use tempfile::TempDir;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbob:x:1000:1001:Bob:/home/bob:/bin/sh\n\
    short:x:5\nminus:x:-1:5::/:\nplus:x:+7:7::/:\n-1:x:66:66::/:\n2147483648:x:67:67::/:\n4294967296:x:68:68::/:\n+0:x:69:69::/:\n\
    huge:x:4294967295:0::/:/\nodd:x:77:77::/ho\rme:/bin/sh\n\
    app:x:10001:10002:app:/srv\nbare:x:10003:10004\r\nlong:x:10005:10006::/l:/bin/sh:more\n";
const GROUP: &str = "root:x:0:\nbobs:x:1001:\nwheel:x:10:root,bob\ntape:x:26:bob\nbroken:x:\nnobody:x:65534:bobby\n\
    few:x:10007\nmany:x:10008:app,bare:more\r\n";

fn image() -> (TempDir, RootView) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("etc")).unwrap();
    std::fs::write(dir.path().join("etc/passwd"), PASSWD).unwrap();
    std::fs::write(dir.path().join("etc/group"), GROUP).unwrap();
    let view = RootView::new([dir.path()]);
    (dir, view)
}

fn of_image(user: &str) -> UserRequest {
    UserRequest { image_user: user.to_owned(), ..UserRequest::default() }
}

#[test]
fn every_spelling_of_an_image_user() {
    let (_dir, view) = image();
    type Row = (&'static str, u32, u32, &'static [u32], Option<&'static str>);
    let table: [Row; 17] = [
        ("", 0, 0, &[0, 10], Some("/root")),
        ("0", 0, 0, &[0, 10], Some("/root")),
        ("bob", 1000, 1001, &[1001, 10, 26], Some("/home/bob")),
        ("1000", 1000, 1001, &[1001, 10, 26], Some("/home/bob")),
        ("1000:5", 1000, 5, &[5, 10, 26], Some("/home/bob")),
        ("bob:wheel", 1000, 10, &[10, 26], Some("/home/bob")),
        ("1000:tape", 1000, 26, &[26, 10], Some("/home/bob")),
        ("4000", 4000, 0, &[0], None),
        ("4000:4001", 4000, 4001, &[4001], None),
        ("4000:wheel", 4000, 10, &[10], None),
        ("odd", 77, 77, &[77], None),
        // Rows with fewer fields, and with more.
        ("app", 10001, 10002, &[10002, 10008], Some("/srv")),
        ("10001", 10001, 10002, &[10002, 10008], Some("/srv")),
        ("10003", 10003, 10004, &[10004, 10008], None),
        ("bare:few", 10003, 10007, &[10007, 10008], None),
        ("long", 10005, 10006, &[10006], Some("/l")),
        ("4000:many", 4000, 10008, &[10008], None),
    ];
    for (user, uid, gid, groups, home) in table {
        let got = resolve(&view, &of_image(user)).unwrap();
        assert_eq!(
            (got.uid, got.gid, got.groups.as_slice(), got.home.as_deref()),
            (uid, gid, groups, home),
            "{user}"
        );
    }
}

#[test]
fn numbers_out_of_range_are_never_names() {
    let (_dir, view) = image();
    for user in
        ["2147483648", "4294967295", "4294967296", "18446744073709551616", "-1", "+0", "bob:-1", "bob:+10"]
    {
        for request in [
            of_image(user),
            UserRequest { user: Some(User::Name(user.to_owned())), ..UserRequest::default() },
        ] {
            let error = resolve(&view, &request).unwrap_err();
            assert!(matches!(error, OciError::Invalid { .. }), "{user}: {error}");
        }
    }
    let error = resolve(&view, &of_image("huge")).unwrap_err();
    assert!(matches!(error, OciError::Invalid { .. }), "{error}");
    for user in ["minus", "plus", "short", "nobody"] {
        let error = resolve(&view, &of_image(user)).unwrap_err();
        assert!(matches!(error, OciError::UnknownName { what: "user", .. }), "{user}: {error}");
    }
    let error = resolve(&view, &of_image("bob:broken")).unwrap_err();
    assert!(matches!(error, OciError::UnknownName { what: "group", .. }), "{error}");
    let request = UserRequest { user: Some(User::Uid(1 << 31)), ..UserRequest::default() };
    assert!(resolve(&view, &request).unwrap_err().to_string().contains("run_as_user"));
}

#[test]
fn the_request_replaces_the_image() {
    let (_dir, view) = image();
    let request = UserRequest {
        user: Some(User::Uid(1000)),
        group: Some(7),
        image_user: "root:wheel".into(),
        supplemental_groups: vec![3, 10, 3],
        strict_groups: false,
    };
    assert_eq!(resolve(&view, &request).unwrap().groups, [7, 10, 26, 3]);
    let strict = UserRequest { strict_groups: true, ..request.clone() };
    assert_eq!(resolve(&view, &strict).unwrap().groups, [7, 3, 10]);
    let named = UserRequest { user: Some(User::Name("bob".into())), group: None, ..strict };
    let got = resolve(&view, &named).unwrap();
    assert_eq!((got.uid, got.gid), (1000, 1001));
    assert_eq!(got.groups, [1001, 3, 10]);
}

#[test]
fn an_image_without_databases_knows_only_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let view = RootView::new([dir.path()]);
    assert_eq!(resolve(&view, &of_image("")).unwrap().uid, 0);
    assert_eq!(resolve(&view, &of_image("12:13")).unwrap().groups, [13]);
    assert!(resolve(&view, &of_image("bob")).is_err());
}

#[test]
fn any_bytes_parse_without_a_panic() {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let alphabet = b"root:x0:9\n:,+-\0\r\xff:::::\n";
    for _ in 0..2000 {
        let mut file = Vec::new();
        for _ in 0..64 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            file.push(alphabet[usize::try_from(state % alphabet.len() as u64).unwrap()]);
        }
        for user in database::users(&file) {
            assert!(!user.name.is_empty() && !user.home.contains(&b'\n') && !user.home.contains(&b':'));
        }
        database::groups(&file).for_each(drop);
    }
}

#[test]
fn no_more_groups_than_a_process_can_have() {
    let (dir, view) = image();
    let group = |gid: u32| format!("g{gid}:x:{gid}:bob\n");
    let of_image: String = (100_000..100_010).map(group).collect();
    std::fs::write(dir.path().join("etc/group"), of_image).unwrap();
    let request = |count: u32| UserRequest {
        user: Some(User::Name("bob".into())),
        supplemental_groups: (200_000..200_000 + count).chain([100_000, 200_000]).collect(),
        ..UserRequest::default()
    };
    // Beside the user's own and the ten of the image; those that are named twice count once.
    assert_eq!(resolve(&view, &request(65_525)).unwrap().groups.len(), 65_536);
    let error = resolve(&view, &request(65_526)).unwrap_err();
    assert_eq!(error.kind(), model::ErrorKind::InvalidArgument);
    let error = error.to_string();
    assert!(error.starts_with("linux.security_context.supplemental_groups: 65537 groups"), "{error}");
    let strict = UserRequest { strict_groups: true, ..request(65_535) };
    assert_eq!(resolve(&view, &strict).unwrap_err().to_string(), error);
}
