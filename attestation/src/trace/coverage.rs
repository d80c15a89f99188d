//! The judgement: do the numbers agree, did the hooks hold, did anything end completeness.

use super::account::{Accounts, Cell};
use super::canaries::Canaries;
use super::processes::Processes;
use crate::codes;
use proto::evidence::{self as log, Level};
use std::collections::BTreeMap;

/// Observations of names, of acts beyond files and peers, and of datagrams to unix sockets, whose rows have their own level. Their
/// hooks alone may take from user memory: no other claim about content or peers rests on them.
pub const NAME_OBSERVATIONS: [&str; 8] = ["rename", "link", "unlink", "mkdir", "rmdir", "symlink", "act", "unix-send"];

/// Observations that a complete session has hooks for.
pub const REQUIRED_OBSERVATIONS: [&str; 12] =
    ["exec", "fork", "exit", "open", "rename", "link", "unlink", "connect", "send", "bind", "accept", "close"];

/// Gaps that are told apart; further ones count as one of their code with an empty detail.
const GAPS_MAX: usize = 4096;

/// Details of one blind spot that are told apart; further ones count as one with an empty detail.
const DETAILS_MAX: usize = 64;

/// The lowest level among the hooks that content and peers rest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CoverageLevel {
    /// No hook at all, or one without a level.
    None,
    /// An argument in memory that the program can change. Never complete.
    UserArgument,
    /// The kernel's own object, taken after the act.
    ReturnedObject,
    /// The kernel's own object, before or at the act.
    Object,
}

impl CoverageLevel {
    /// As statements write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::UserArgument => "user-argument",
            Self::ReturnedObject => "returned-object",
            Self::Object => "object",
        }
    }
}

impl From<Level> for CoverageLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Unspecified => Self::None,
            Level::UserArgument => Self::UserArgument,
            Level::ReturnedObject => Self::ReturnedObject,
            Level::Object => Self::Object,
        }
    }
}

/// Something that was found, with how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// A code of [`crate::codes`], or one that is not known there.
    pub code: String,
    /// What it concerns; may be empty.
    pub detail: String,
    /// How often.
    pub count: u64,
    /// Whether it ends completeness.
    pub ends_completeness: bool,
}

/// What one hook did in the whole session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookRow {
    /// The hook as the session declared it.
    pub hook: log::Hook,
    /// Numbers that the kernel gave out.
    pub attempted: u64,
    /// Events in the log.
    pub delivered: u64,
    /// Repeats that the kernel counted.
    pub coalesced: u64,
    /// Events that found no room.
    pub lost: u64,
    /// Events that were not taken whole.
    pub truncated: u64,
    /// Times that the kernel skipped the program; `None` where it does not say.
    pub misses: Option<u64>,
    /// What it saw of the agent's known acts; `None` in a session without any.
    pub canaries: Option<Canaries>,
}

/// Gaps and blind spots as they are found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    gaps: BTreeMap<(String, String), u64>,
    blind: BTreeMap<(String, String), (u64, bool)>,
}

impl Findings {
    pub(super) fn gap(&mut self, code: &str, detail: &str) {
        self.gaps_of(code, detail, 1);
    }

    pub(super) fn gaps_of(&mut self, code: &str, detail: &str, count: u64) {
        let mut key = (code.to_owned(), detail.to_owned());
        if self.gaps.len() >= GAPS_MAX && !self.gaps.contains_key(&key) {
            key.1.clear();
        }
        let entry = self.gaps.entry(key).or_default();
        *entry = entry.saturating_add(count);
    }

    pub(super) fn blind_spot(&mut self, code: &str, detail: &str, ends_completeness: bool) {
        let of_code = (code.to_owned(), String::new())..;
        let told = self.blind.range(of_code).take(DETAILS_MAX).take_while(|row| row.0.0 == code).count();
        let known = self.blind.contains_key(&(code.to_owned(), detail.to_owned()));
        let detail = if known || told < DETAILS_MAX { detail } else { "" };
        let entry = self.blind.entry((code.to_owned(), detail.to_owned())).or_default();
        entry.0 = entry.0.saturating_add(1);
        entry.1 |= ends_completeness;
    }

    pub(super) fn into_lists(self) -> (Vec<Finding>, Vec<Finding>) {
        let finding = |(code, detail), count, ends_completeness| Finding { code, detail, count, ends_completeness };
        let gaps = self.gaps.into_iter().map(|(key, count)| finding(key, count, true)).collect();
        let blind = self.blind.into_iter().map(|(key, (count, ends))| finding(key, count, ends)).collect();
        (gaps, blind)
    }
}

/// Rows of all hooks; every disagreement of the numbers is a gap.
pub(super) fn judge_numbers(
    hooks: &[log::Hook],
    accounts: &Accounts,
    misses: Option<&[log::HookMisses]>,
    findings: &mut Findings,
) -> Vec<HookRow> {
    let mut rows = Vec::with_capacity(hooks.len());
    for hook in hooks {
        let row = HookRow {
            hook: hook.clone(),
            attempted: 0,
            delivered: 0,
            coalesced: 0,
            lost: 0,
            truncated: 0,
            misses: misses.and_then(|misses| misses_of(hook.id, misses)),
            canaries: None,
        };
        rows.push(row);
    }
    for ((_, id, _), cell) in &accounts.cells {
        if let Some(row) = rows.iter_mut().find(|row| row.hook.id == *id) {
            add_cell(row, cell);
            judge_cell(&label(&row.hook), cell, misses.is_some(), findings);
        }
    }
    if let Some(misses) = misses {
        judge_misses(&rows, accounts, misses, findings);
        judge_folds(&rows, accounts, findings);
    }
    rows
}

pub(super) fn label(hook: &log::Hook) -> String {
    format!("{}#{}", hook.observation, hook.id)
}

/// The kernel's own count; `None` if it is not known, not there, or there twice.
fn misses_of(hook: u32, misses: &[log::HookMisses]) -> Option<u64> {
    let mut rows = misses.iter().filter(|misses| misses.hook == hook);
    match (rows.next(), rows.next()) {
        (Some(row), None) if row.known => Some(row.misses),
        _ => None,
    }
}

fn add_cell(row: &mut HookRow, cell: &Cell) {
    row.delivered = row.delivered.saturating_add(cell.delivered);
    if let Some(account) = &cell.account {
        row.attempted = row.attempted.saturating_add(account.attempted);
        row.coalesced = row.coalesced.saturating_add(account.coalesced);
        row.lost = row.lost.saturating_add(account.lost);
    }
    let counted = cell.account.as_ref().map_or(0, |account| account.truncated);
    row.truncated = row.truncated.saturating_add(counted.max(cell.flagged));
}

fn judge_cell(label: &str, cell: &Cell, closed: bool, findings: &mut Findings) {
    let truncated = cell.flagged.max(cell.account.as_ref().map_or(0, |account| account.truncated));
    if truncated > 0 {
        findings.gaps_of(codes::TRUNCATED_EVENT, label, truncated);
    }
    let Some(account) = &cell.account else {
        // Accounts are read at the end: a log that was cut has none, and says so by having no end.
        if closed {
            findings.gap(codes::MISSING_ACCOUNT, label);
        }
        return;
    };
    if account.lost > 0 {
        findings.gaps_of(codes::LOST_EVENTS, label, account.lost);
    }
    let sum = u128::from(cell.delivered) + u128::from(account.coalesced) + u128::from(account.lost);
    if sum != u128::from(account.attempted) {
        findings.gap(codes::ACCOUNT_MISMATCH, label);
    }
    if cell.delivered > 0 && cell.highest >= account.attempted {
        findings.gap(codes::NUMBER_BEYOND_ACCOUNT, label);
    }
    if cell.stray_folds > 0 {
        findings.gap(codes::FOLD_MISMATCH, label);
    }
}

/// A repeat is counted on the CPU where it happened, and listed under that of the event which stands for it: the two
/// agree over all CPUs of an epoch's hook.
fn judge_folds(rows: &[HookRow], accounts: &Accounts, findings: &mut Findings) {
    let mut sums: BTreeMap<(u32, u32), (u128, u128)> = BTreeMap::new();
    for ((epoch, hook, _), cell) in &accounts.cells {
        let sum = sums.entry((*epoch, *hook)).or_default();
        sum.0 += cell.folded;
        sum.1 += cell.account.as_ref().map_or(0, |account| u128::from(account.coalesced));
    }
    for row in rows {
        let wrong =
            |((_, hook), (folded, counted)): (&(u32, u32), &(u128, u128))| *hook == row.hook.id && folded != counted;
        if sums.iter().any(wrong) {
            findings.gap(codes::FOLD_MISMATCH, &label(&row.hook));
        }
    }
}

fn judge_misses(rows: &[HookRow], accounts: &Accounts, misses: &[log::HookMisses], findings: &mut Findings) {
    for row in rows {
        let label = label(&row.hook);
        match row.misses {
            None => findings.gap(codes::UNKNOWN_MISSES, &label),
            Some(0) => {}
            Some(missed) => findings.gaps_of(codes::MISSED_RUNS, &label, missed),
        }
        let has_account = |cell: &Cell| cell.account.is_some();
        if !accounts.cells.iter().any(|((_, hook, _), cell)| *hook == row.hook.id && has_account(cell)) {
            findings.gap(codes::MISSING_ACCOUNT, &label);
        }
    }
    if misses.iter().any(|misses| !rows.iter().any(|row| row.hook.id == misses.hook)) {
        findings.gap(codes::MALFORMED_LOG, "misses");
    }
}

/// The lowest level that content and peers rest on; weak and missing hooks are gaps.
pub(super) fn judge_hooks(hooks: &[log::Hook], findings: &mut Findings) -> CoverageLevel {
    let mut lowest: Option<CoverageLevel> = None;
    for hook in hooks {
        let level = CoverageLevel::from(Level::try_from(hook.level).unwrap_or_default());
        let name_only = NAME_OBSERVATIONS.contains(&hook.observation.as_str());
        if level == CoverageLevel::None || (level == CoverageLevel::UserArgument && !name_only) {
            findings.gap(codes::WEAK_HOOK, &label(hook));
        }
        if !name_only {
            lowest = Some(lowest.map_or(level, |lowest| lowest.min(level)));
        }
    }
    for required in REQUIRED_OBSERVATIONS {
        if !hooks.iter().any(|hook| hook.observation == required) {
            findings.gap(codes::MISSING_OBSERVATION, required);
        }
    }
    lowest.unwrap_or(CoverageLevel::None)
}

/// Every process has an end or is a survivor; every survivor is a gap.
pub(super) fn judge_survivors(survivors: &[(u32, u64)], processes: &mut Processes, findings: &mut Findings) {
    for (pid, start_ns) in survivors {
        findings.gap(codes::SURVIVOR, &pid.to_string());
        if !processes.survive(*pid, *start_ns) {
            findings.gap(codes::MALFORMED_LOG, "survivor");
        }
    }
    for process in processes.iter() {
        if process.end.is_none() && !process.survivor {
            findings.gap(codes::END_NOT_SEEN, &process.pid.to_string());
        }
    }
}

/// Every program's arguments arrived whole.
pub(super) fn judge_arguments(processes: &Processes, findings: &mut Findings) {
    for process in processes.iter() {
        for exec in &process.execs {
            if exec.args.len() != exec.args_bytes as usize {
                findings.gap(codes::TRUNCATED_ARGV, &process.pid.to_string());
            }
        }
    }
}

/// A session is whole when it was closed after its command had ended, by itself or by a signal.
pub(super) fn judge_end(closed: Option<&log::SessionClosed>, findings: &mut Findings) {
    let Some(closed) = closed else {
        return findings.gap(codes::NOT_CLOSED, "");
    };
    match (closed.reason.as_str(), closed.root_status) {
        ("ended", _) | ("signal", 0..) => {}
        ("signal", _) => findings.gap(codes::SESSION_CUT, ""),
        ("failed", _) => findings.gap(codes::SESSION_FAILED, ""),
        _ => findings.gap(codes::UNKNOWN_CODE, "reason"),
    }
}
