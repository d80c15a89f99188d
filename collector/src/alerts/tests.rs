//! The same of the same host is told once in a period; what is not told is counted; what was begun is told again and says so.

use super::*;
use crate::{
    index::{Index, tests::LIMITS},
    store::Store,
};

const PERIODS: Periods = Periods { period_s: 100, waiting_max: 3 };

fn index() -> (tempfile::TempDir, Index) {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::open(folder.path(), LIMITS).unwrap());
    let index = Index::open(folder.path()).unwrap();
    (folder, index)
}

fn alert(host: &str, code: &str) -> Alert {
    Alert { host: Some(host.to_owned()), code: code.to_owned(), count: 1, says: host.to_owned(), ..Alert::default() }
}

fn told(index: &Index) -> Vec<Alert> {
    let mut select = index.connection.prepare("SELECT alert FROM alert ORDER BY id").unwrap();
    let rows = select.query_map((), |row| row.get::<_, String>(0)).unwrap();
    rows.map(|row| serde_json::from_str(&row.unwrap()).unwrap()).collect()
}

#[test]
fn the_same_of_the_same_host_is_told_once_in_a_period_with_how_often() {
    let (_folder, index) = index();
    let happened = |host, code, now| PERIODS.happened(&index.connection, alert(host, code), now).unwrap();
    assert!(happened("a", "X", 1000));
    assert!(!happened("a", "X", 1001) && !happened("a", "X", 1099));
    // Another host, and another code.
    assert!(happened("b", "X", 1002) && happened("a", "Y", 1003));
    assert_eq!(PERIODS.over(&index.connection, 1099).unwrap(), [] as [String; 0]);
    assert_eq!(PERIODS.over(&index.connection, 1100).unwrap(), ["X"]);
    let last = told(&index).pop().unwrap();
    assert_eq!(
        (last.count, last.id, last.since.as_str(), last.time.as_str()),
        (2, 4, "1970-01-01T00:16:40Z", "1970-01-01T00:18:20Z")
    );
    // Nothing happened since: the next one is told at once.
    assert_eq!(PERIODS.over(&index.connection, 1200).unwrap(), [] as [String; 0]);
    assert!(happened("a", "X", 1201));
}

#[test]
fn hosts_without_end_take_a_bounded_place() {
    let (_folder, index) = index();
    index.connection.execute_batch("BEGIN").unwrap();
    for host in 0..10_050_u32 {
        PERIODS.happened(&index.connection, alert(&host.to_string(), "X"), 1000).unwrap();
    }
    let recent: i64 = index.connection.query_row("SELECT count(*) FROM recent", (), |row| row.get(0)).unwrap();
    assert_eq!(recent, 10_001);
    let others = "SELECT untold FROM recent WHERE about = ''";
    assert_eq!(index.connection.query_row(others, (), |row| row.get::<_, i64>(0)).unwrap(), 49);
    let kept: i64 = index.connection.query_row("SELECT count(*) FROM alert", (), |row| row.get(0)).unwrap();
    assert_eq!(kept, 10_000);
}

#[test]
fn what_waits_is_bounded_and_what_is_dropped_is_counted() {
    let (_folder, index) = index();
    index
        .connection
        .execute("INSERT INTO sink (name, delivered, attempted, dropped) VALUES ('file', 0, 0, 0)", ())
        .unwrap();
    for host in 0..5 {
        PERIODS.happened(&index.connection, alert(&host.to_string(), "X"), 1000).unwrap();
    }
    let state = "SELECT delivered, dropped FROM sink";
    let state: (i64, i64) = index.connection.query_row(state, (), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(state, (2, 2));
}

#[test]
fn whoever_sends_what_is_refused_without_end_takes_a_bounded_place() {
    let pending = Pending::default();
    for peer in 0..2000 {
        pending.add(Alert { peer: Some(peer.to_string()), code: "X".to_owned(), ..Alert::default() });
        pending.add(Alert { peer: Some("0".to_owned()), code: "X".to_owned(), ..Alert::default() });
    }
    let taken = pending.take();
    assert_eq!(taken.len(), 1025);
    assert_eq!(taken.iter().map(|alert| alert.count).sum::<u64>(), 4000);
    assert!(pending.take().is_empty());
}

#[test]
fn a_file_gets_each_alert_once_and_one_that_was_begun_again_with_a_word() {
    let (folder, index) = index();
    let path = folder.path().join("alerts");
    let settings = Settings { file: Some(path.clone()), ..Settings::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let counts = std::sync::Arc::new(crate::counts::Counts::new());
    let tell = |wanted: usize| {
        let sinks = Sinks::start(&settings, folder.path(), runtime.handle(), &counts).unwrap();
        let began = std::time::Instant::now();
        let lines = || std::fs::read_to_string(&path).unwrap_or_default().lines().count();
        while lines() < wanted && began.elapsed().as_secs() < 10 {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        drop(sinks);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str::<Alert>(line).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(tell(0), []);
    PERIODS.happened(&index.connection, alert("a", "X"), 1000).unwrap();
    PERIODS.happened(&index.connection, alert("b", "X"), 1000).unwrap();
    let lines = tell(2);
    assert_eq!(lines.iter().map(|line| (line.id, line.repeated)).collect::<Vec<_>>(), [(1, false), (2, false)]);
    assert_eq!(tell(2).len(), 2);
    // As it is for who was killed between writing and noting it.
    index.connection.execute("UPDATE sink SET delivered = 1", ()).unwrap();
    let lines = tell(3);
    assert_eq!((lines.len(), lines[2].id, lines[2].repeated), (3, 2, true));
}

#[test]
fn what_cannot_be_a_receiver_is_a_fault() {
    let said = |text: &str| {
        let refused = config::parse::<Settings>("c", text).expect_err("faults");
        refused.faults.iter().map(|fault| fault.path.clone()).collect::<Vec<_>>().join(",")
    };
    assert_eq!(said("file = \"here\"\nwaiting_max = 0\n"), "file,waiting_max");
    for url in ["http://a", "https://", "https://user:word@a/", "file:///x", ""] {
        assert_eq!(said(&format!("[webhook]\nurl = \"{url}\"\n")), "webhook.url", "{url}");
    }
    assert_eq!(said("[syslog]\nudp = \"here\"\n"), "syslog.udp");
    assert!(said("[syslog]\n").starts_with("syslog"));
}
