//! The wall clock that stamps ctime, measured against the clock that stamps events.
//!
//! It goes in ticks, and these are late: on a busy machine, and more so in a guest, it stays behind the other clocks by
//! several times its resolution. So no time that passed says that a version is settled, but the clock itself: once it has
//! moved beyond a version's ctime, a later change carries a later time. Programs of the kernel side cannot read it; so it is
//! read here, again and again, and the last tick known to have been before an access counts.
//!
//! A ctime says something only while that clock goes forward. So the offset is sampled while the session runs, the least seen counts
//! for an age, and any setting of the clock, even one undone a moment later, is noticed by a timer that such an act cancels.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
    timerfd_settime,
};

use super::Access;
use super::version::Stamp;

/// What conversion between the clocks may be wrong by.
const SLACK_NS: u64 = 1_000_000;
/// Offsets are sampled no more often.
const SAMPLE_NS: u64 = 50_000_000;
/// Samples taken for one: whoever is preempted between two clocks learns little, and the narrowest of them counts.
const SAMPLE_TRIES: u32 = 5;
/// Ticks remembered, at 250 a second half a minute: events come later than what they tell.
const TICKS_MAX: usize = 8192;
/// Of them, those that a session begins with: it is opened as soon as its first events come.
const TICKS_GIVEN_MAX: usize = 1024;
/// A sample this narrow is taken at once.
const NARROW_NS: u64 = 20_000;
/// A slewed clock (adjtime) leaves the other by at most 1/1000; beyond that and the slack it was set.
const SLEW_DIVISOR: u64 = 1000;
/// A stamp without nanoseconds comes from a file system that counts seconds (ext4 with small inodes).
const SECOND_NS: u64 = 1_000_000_000;

/// The clocks at the session's start.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// Resolution of the coarse clock that stamps ctime, nanoseconds.
    pub grain_ns: u64,
    /// CLOCK_REALTIME minus CLOCK_BOOTTIME, nanoseconds.
    pub realtime_offset_ns: i64,
}

/// How old a version was at an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// Before the last tick: any later change shows.
    Settled,
    /// Of the last tick.
    Fresh,
    /// Not yet.
    Future,
}

/// What the coarse clock's resolution means for a version's time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grain(u64);

impl Grain {
    pub(super) fn new(nanoseconds: u64) -> Self {
        Self(nanoseconds)
    }

    /// The most that has to pass until a version's time can no longer be given to another change, if ticks are in time.
    pub(super) fn wait_ns_max(self, stamp: &Stamp) -> u64 {
        u64::try_from(unit_ns(stamp)).unwrap_or(0).max(self.0) + self.0 + SLACK_NS
    }

    /// Nanoseconds from now until that moment, by the clock itself; 0 if it is past.
    pub(super) fn remaining_ns(self, stamp: &Stamp) -> u64 {
        let tick = i128::from(nanoseconds(ClockId::RealtimeCoarse));
        let remaining = ctime_ns(stamp) + unit_ns(stamp) - tick;
        // A time far ahead never settles while anybody waits for it.
        u64::try_from(remaining.clamp(0, i128::from(2 * SECOND_NS))).unwrap_or(0)
    }
}

/// What two times that a file system tells apart differ by.
fn unit_ns(stamp: &Stamp) -> i128 {
    if stamp.ctime_nsec == 0 { i128::from(SECOND_NS) } else { 1 }
}

fn ctime_ns(stamp: &Stamp) -> i128 {
    i128::from(stamp.ctime_sec) * 1_000_000_000 + i128::from(stamp.ctime_nsec)
}

/// The clock while a session runs.
#[derive(Debug)]
pub(super) struct Timekeeper {
    pub(super) grain: Grain,
    /// The least that the offset may have been.
    least_ns: i64,
    /// The most that it may have been.
    most_ns: i64,
    /// The least and the most that it was for sure. Between two samples on which that is apart, the offset moved.
    surely: (i64, i64),
    started_ns: u64,
    sampled_ns: u64,
    ticks: VecDeque<Tick>,
    set: Option<OwnedFd>,
}

impl Timekeeper {
    pub(super) fn start(clock: Clock) -> Self {
        let now = boottime_ns();
        let mut keeper = Self {
            grain: Grain::new(clock.grain_ns),
            least_ns: clock.realtime_offset_ns,
            most_ns: clock.realtime_offset_ns,
            surely: (clock.realtime_offset_ns, clock.realtime_offset_ns),
            started_ns: now,
            sampled_ns: 0,
            ticks: VecDeque::new(),
            set: cancelled_when_set().ok(),
        };
        keeper.sample(now);
        keeper
    }

    /// One for a session that began while this one watched: what it saw of the clock holds for that session's first accesses. Where the
    /// clock was set meanwhile, both begin anew.
    pub(super) fn fork(&mut self) -> Self {
        let set = cancelled_when_set().ok();
        // Asked when the new one watches, so that nothing falls between.
        if self.set.as_ref().is_none_or(cancelled) {
            *self = Self::start(Clock { grain_ns: self.grain.0, realtime_offset_ns: realtime_offset_ns() });
        }
        let known = self.ticks.len().saturating_sub(TICKS_GIVEN_MAX);
        Self {
            grain: self.grain,
            least_ns: self.least_ns,
            most_ns: self.most_ns,
            surely: self.surely,
            started_ns: self.started_ns,
            sampled_ns: self.sampled_ns,
            ticks: self.ticks.iter().skip(known).copied().collect(),
            set,
        }
    }

    /// Looks whether the clock has ticked, and takes the offset again, if the last sample is old enough. `now` is
    /// CLOCK_BOOTTIME.
    pub(super) fn sample(&mut self, now_ns: u64) {
        self.ticked(Tick::last());
        if self.sampled_ns != 0 && now_ns.saturating_sub(self.sampled_ns) < SAMPLE_NS {
            return;
        }
        self.sampled_ns = now_ns;
        self.take(Offset::sampled());
    }

    fn ticked(&mut self, tick: Tick) {
        if self.ticks.back().is_some_and(|last| last.stamps_ns == tick.stamps_ns) {
            return;
        }
        if self.ticks.len() >= TICKS_MAX {
            self.ticks.pop_front();
        }
        self.ticks.push_back(tick);
    }

    /// What a change gets for a time, at least, from a moment of CLOCK_BOOTTIME on; none where nothing is known of it.
    fn stamps_since(&self, boottime_ns: u64) -> Option<i128> {
        let later = self.ticks.partition_point(|tick| tick.seen_ns <= boottime_ns);
        Some(i128::from(self.ticks.get(later.checked_sub(1)?)?.stamps_ns))
    }

    fn take(&mut self, offset: Offset) {
        self.least_ns = self.least_ns.min(offset.least_ns);
        self.most_ns = self.most_ns.max(offset.most_ns);
        self.surely = (self.surely.0.min(offset.most_ns), self.surely.1.max(offset.least_ns));
    }

    /// How old the version was at an access.
    pub(super) fn age(&self, stamp: &Stamp, access: &Access) -> Age {
        let ctime = ctime_ns(stamp);
        let latest = i128::from(access.boottime_ns) + i128::from(self.most_ns);
        if ctime > latest + i128::from(SLACK_NS) {
            Age::Future
        } else if self.stamps_since(access.began_ns).is_some_and(|stamps| stamps >= ctime + unit_ns(stamp)) {
            Age::Settled
        } else {
            Age::Fresh
        }
    }

    /// A version's time by CLOCK_BOOTTIME, nanoseconds.
    pub(super) fn changed_ns(&self, stamp: &Stamp) -> u64 {
        u64::try_from((ctime_ns(stamp) - i128::from(self.least_ns)).max(0)).unwrap_or(u64::MAX)
    }

    /// Whether the wall clock was set since the start.
    pub(super) fn was_set(&mut self) -> bool {
        let now = boottime_ns();
        self.sampled_ns = 0;
        self.sample(now);
        let slewed = now.saturating_sub(self.started_ns) / SLEW_DIVISOR + 2 * SLACK_NS;
        let apart = self.surely.1.saturating_sub(self.surely.0);
        u64::try_from(apart).is_ok_and(|apart| apart > slewed) || self.set.as_ref().is_none_or(cancelled)
    }
}

/// The wall clock, watched for sessions that begin before anybody knows of them.
#[derive(Debug)]
pub struct Wall(Timekeeper);

impl Wall {
    /// Watches from here on.
    pub fn start(clock: Clock) -> Self {
        Self(Timekeeper::start(clock))
    }

    /// What it saw, for a session that began meanwhile.
    pub(super) fn fork(&mut self) -> Timekeeper {
        self.0.fork()
    }

    /// Looks at it; to be called every few milliseconds.
    pub fn look(&mut self) {
        self.0.sample(boottime_ns());
    }
}

/// CLOCK_REALTIME minus CLOCK_BOOTTIME in nanoseconds, as near as it can be told.
pub fn realtime_offset_ns() -> i64 {
    let Offset { least_ns, most_ns } = Offset::sampled();
    least_ns.midpoint(most_ns)
}

/// A tick of the clock that stamps ctime.
#[derive(Debug, Clone, Copy)]
struct Tick {
    /// What a change gets from then on, at least.
    stamps_ns: u64,
    /// CLOCK_BOOTTIME when it was seen: the tick was before.
    seen_ns: u64,
}

impl Tick {
    fn last() -> Self {
        let stamps_ns = nanoseconds(ClockId::RealtimeCoarse);
        Self { stamps_ns, seen_ns: boottime_ns() }
    }
}

/// Bounds of CLOCK_REALTIME minus CLOCK_BOOTTIME at one moment.
#[derive(Debug, Clone, Copy)]
struct Offset {
    least_ns: i64,
    most_ns: i64,
}

impl Offset {
    fn sampled() -> Self {
        let mut narrowest = Self::once();
        for _ in 1..SAMPLE_TRIES {
            if narrowest.width_ns() <= NARROW_NS {
                break;
            }
            let again = Self::once();
            if again.width_ns() < narrowest.width_ns() {
                narrowest = again;
            }
        }
        narrowest
    }

    fn once() -> Self {
        let before = boottime_ns();
        let real = nanoseconds(ClockId::Realtime);
        let after = boottime_ns();
        Self { least_ns: signed(real) - signed(after), most_ns: signed(real) - signed(before) }
    }

    fn width_ns(self) -> u64 {
        self.most_ns.abs_diff(self.least_ns)
    }
}

/// CLOCK_BOOTTIME, nanoseconds.
pub(super) fn boottime_ns() -> u64 {
    nanoseconds(ClockId::Boottime)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A timer at a far point of the wall clock, which the kernel cancels when somebody sets that clock.
fn cancelled_when_set() -> rustix::io::Result<OwnedFd> {
    let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
    let never = Itimerspec {
        it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
        it_value: Timespec { tv_sec: 1 << 40, tv_nsec: 0 },
    };
    timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET, &never)?;
    Ok(timer)
}

fn cancelled(timer: &OwnedFd) -> bool {
    let mut count = [0; 8];
    !matches!(rustix::io::read(timer, &mut count), Err(Errno::AGAIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFSET: i64 = 1_000_000_000_000;

    fn keeper() -> Timekeeper {
        Timekeeper {
            grain: Grain::new(4_000_000),
            least_ns: OFFSET,
            most_ns: OFFSET,
            surely: (OFFSET, OFFSET),
            started_ns: 0,
            sampled_ns: 1,
            ticks: VecDeque::new(),
            set: None,
        }
    }

    fn stamp(ctime_ns: i64) -> Stamp {
        let nsec = u32::try_from(ctime_ns % 1_000_000_000).unwrap();
        Stamp { ctime_sec: ctime_ns / 1_000_000_000, ctime_nsec: nsec, size: 1 }
    }

    /// Where ticks were seen at these moments of CLOCK_BOOTTIME, each a millisecond old.
    fn ticking(seen_ns: &[u64]) -> Timekeeper {
        let mut keeper = keeper();
        for &seen_ns in seen_ns {
            let stamps_ns = seen_ns - 1_000_000 + u64::try_from(OFFSET).unwrap();
            keeper.ticked(Tick { stamps_ns, seen_ns });
        }
        keeper
    }

    /// An access whose version was read from one moment to another.
    fn access(began_ns: u64, boottime_ns: u64) -> Access {
        Access { bits: 0, writers: 0, verity: Some(false), began_ns, boottime_ns }
    }

    #[test]
    fn a_version_is_settled_only_when_the_clock_was_seen_beyond_it_before_the_access() {
        let keeper = ticking(&[5_000_000, 9_000_000]);
        let at = |began_ns| keeper.age(&stamp(OFFSET + 7_999_999), &access(began_ns, began_ns));
        assert_eq!((at(8_999_999), at(9_000_000)), (Age::Fresh, Age::Settled));
        let of = |ctime_ns: i64| keeper.age(&stamp(OFFSET + ctime_ns), &access(9_000_000, 9_000_000));
        assert_eq!((of(7_999_999), of(8_000_000)), (Age::Settled, Age::Fresh));
    }

    #[test]
    fn time_that_passed_without_a_tick_settles_nothing() {
        let keeper = ticking(&[5_000_000]);
        assert_eq!(keeper.age(&stamp(OFFSET + 4_000_000), &access(60_000_000_000, 60_000_000_000)), Age::Fresh);
    }

    #[test]
    fn an_access_that_was_told_late_is_as_old_as_its_beginning() {
        let keeper = ticking(&[5_000_000, 90_000_000]);
        assert_eq!(keeper.age(&stamp(OFFSET + 4_000_000), &access(5_000_001, 95_000_000)), Age::Fresh);
        assert_eq!(keeper.age(&stamp(OFFSET), &access(0, 95_000_000)), Age::Fresh);
    }

    #[test]
    fn ticks_that_were_forgotten_settle_nothing() {
        let mut keeper = ticking(&[5_000_000]);
        for later in 0..TICKS_MAX as u64 {
            keeper.ticked(Tick { stamps_ns: 1 << 60 | later, seen_ns: 1_000_000_000 + later });
        }
        assert_eq!(keeper.ticks.len(), TICKS_MAX);
        assert_eq!(keeper.age(&stamp(OFFSET + 1), &access(6_000_000, 6_000_000)), Age::Fresh);
    }

    #[test]
    fn a_ctime_after_the_access_is_fresh_within_the_slack_and_future_beyond() {
        assert_eq!(keeper().age(&stamp(OFFSET + 1_000_007), &access(7, 7)), Age::Fresh);
        assert_eq!(keeper().age(&stamp(OFFSET + 1_000_008), &access(7, 7)), Age::Future);
    }

    #[test]
    fn a_stamp_in_whole_seconds_needs_a_second() {
        let keeper = ticking(&[1_000_999_999, 1_001_000_000]);
        let at = |began_ns| keeper.age(&stamp(OFFSET), &access(began_ns, 2_000_000_000));
        assert_eq!((at(1_000_999_999), at(1_001_000_000)), (Age::Fresh, Age::Settled));
    }

    #[test]
    fn the_most_offset_counts_for_a_time_to_come() {
        let stepped = Timekeeper { most_ns: OFFSET + 3_600_000_000_000, ..keeper() };
        assert_eq!(stepped.age(&stamp(OFFSET + 60_000_000_000), &access(1, 1)), Age::Fresh);
    }

    #[test]
    fn a_quiet_clock_was_not_set() {
        let real = realtime_offset_ns();
        assert!(!Timekeeper::start(Clock { grain_ns: 4_000_000, realtime_offset_ns: real }).was_set());
    }

    #[test]
    fn an_offset_that_moved_beyond_slewing_was_set() {
        let real = realtime_offset_ns();
        assert!(Timekeeper::start(Clock { grain_ns: 4_000_000, realtime_offset_ns: real - 5_000_000 }).was_set());
    }

    #[test]
    fn a_sample_that_took_long_says_nothing_of_a_set_clock() {
        let real = realtime_offset_ns();
        let mut keeper = Timekeeper::start(Clock { grain_ns: 4_000_000, realtime_offset_ns: real });
        keeper.take(Offset { least_ns: real - 50_000_000, most_ns: real + 1 });
        keeper.take(Offset { least_ns: real - 1, most_ns: real + 50_000_000 });
        assert!(!keeper.was_set());
        keeper.take(Offset { least_ns: real + 40_000_000, most_ns: real + 60_000_000 });
        assert!(keeper.was_set());
    }

    #[test]
    fn without_the_timer_nothing_is_known_of_the_clock() {
        assert!(keeper().was_set());
    }
}
