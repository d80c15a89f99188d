//! Questions in, answers out, one after the other, until the input ends.

use std::io::{self, BufRead, Read as _, Write};

use tpm_protocol::{Ask, LINE_BYTES_MAX, Outcome, Request, Response, VERSION};
use zeroize::Zeroizing;

use crate::ask;
use crate::device::Device;
use crate::fault::Error;
use crate::state::State;

/// What questions are answered with.
pub(crate) struct Helper {
    pub(crate) device: Device,
    pub(crate) state: State,
    pub(crate) seal_pcr: Option<u8>,
}

/// Room for any answer, so that one with a secret is not left behind where it was before it grew.
const ANSWER_BYTES: usize = 64 << 10;

/// Answers until the input ends.
///
/// # Errors
/// If the input cannot be read or the output cannot be written.
pub(crate) fn run(helper: &Helper, mut input: impl BufRead, mut output: impl Write) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
        if input.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let whole = line.strip_suffix(b"\n");
        if whole.is_none() && line.len() > LINE_BYTES_MAX {
            skip_line(&mut input)?;
            write(&mut output, &response(None, Err(Error::TooLong)))?;
            continue;
        }
        write(&mut output, &answer(helper, whole.unwrap_or(&line)))?;
    }
}

fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = input.fill_buf()?;
        let (count, ends) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        input.consume(count);
        if ends {
            return Ok(());
        }
    }
}

fn answer(helper: &Helper, line: &[u8]) -> Response {
    let request: Request = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(error) => return response(id_of(line), Err(Error::NotUnderstood(error.to_string()))),
    };
    let id = Some(request.id);
    if request.version != VERSION {
        return response(id, Err(Error::Version(request.version)));
    }
    let outcome = match request.ask {
        Ask::Identify { certified } => ask::identify(helper, certified),
        Ask::Quote { nonce, pcrs } => ask::quote(helper, &nonce, &pcrs),
        Ask::Extend { pcr, sha256 } => ask::extend(helper, pcr, &sha256),
        Ask::Read { pcrs } => ask::read(helper, &pcrs),
        Ask::Activate { endorsement, blob, encrypted_seed } => {
            ask::activate(helper, endorsement, &blob, &encrypted_seed)
        }
        Ask::SigningKey { nonce } => ask::signing_key(helper, &nonce),
        Ask::Sign { sha256 } => ask::sign(helper, &sha256),
    };
    response(id, outcome)
}

/// The number of a question that is otherwise not understood.
fn id_of(line: &[u8]) -> Option<u64> {
    serde_json::from_slice::<serde_json::Value>(line).ok()?.get("id")?.as_u64()
}

fn response(id: Option<u64>, outcome: Result<tpm_protocol::Answer, Error>) -> Response {
    let outcome = match outcome {
        Ok(answer) => Outcome::Answer(answer),
        Err(error) => Outcome::Fault(error.fault()),
    };
    Response { version: VERSION, id, outcome }
}

fn write(output: &mut impl Write, response: &Response) -> io::Result<()> {
    let mut line = Zeroizing::new(Vec::with_capacity(ANSWER_BYTES));
    serde_json::to_writer(&mut *line, response)?;
    line.push(b'\n');
    output.write_all(&line)?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::{Helper, run};
    use crate::device::Device;
    use crate::state::State;
    use serde_json::{Value, json};
    use tpm_protocol::LINE_BYTES_MAX;

    /// A helper whose device is nowhere.
    fn answers(input: &str) -> Vec<Value> {
        let folder = tempfile::tempdir().unwrap();
        let helper = Helper {
            device: Device::new("device:/nowhere/tpm"),
            state: State::new(folder.path().join("state")),
            seal_pcr: Some(12),
        };
        let mut output = Vec::new();
        run(&helper, input.as_bytes(), &mut output).unwrap();
        let lines = std::str::from_utf8(&output).unwrap().lines();
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn code(response: &Value) -> (&Value, &str) {
        (&response["id"], response["outcome"]["fault"]["code"].as_str().unwrap_or("no fault"))
    }

    fn ask(id: u64, ask: &Value) -> String {
        json!({"version": 1, "id": id, "ask": ask}).to_string() + "\n"
    }

    #[test]
    fn what_is_not_understood_is_said_with_its_number_and_the_next_is_answered() {
        let input =
            ["{}\n", "\n", "{\"id\":4}\n", "{\"version\":2,\"id\":5,\"ask\":{\"kind\":\"read\",\"pcrs\":[]}}\n"];
        let said = answers(&(input.concat() + &ask(6, &json!({"kind": "read", "pcrs": [0]}))));
        let codes: Vec<_> = said.iter().map(code).collect();
        assert_eq!(
            codes,
            [
                (&Value::Null, "not-understood"),
                (&Value::Null, "not-understood"),
                (&json!(4), "not-understood"),
                (&json!(5), "not-understood"),
                (&json!(6), "no-device"),
            ]
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped() {
        let longest = " ".repeat(LINE_BYTES_MAX);
        let said = answers(&format!("{longest}\n{longest} \n{}", ask(1, &json!({"kind": "read", "pcrs": [0]}))));
        assert_eq!(said.len(), 3);
        assert!(said[1]["outcome"]["fault"]["message"].as_str().unwrap().contains("65536"));
        assert_eq!(code(&said[2]), (&json!(1), "no-device"));
        // And one without an end.
        assert_eq!(answers(&" ".repeat(LINE_BYTES_MAX + 2)).len(), 1);
    }

    #[test]
    fn what_is_not_done_is_refused_before_any_device_is_asked() {
        let zeros = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let extend = |pcr: u8, sha256: &str| json!({"kind": "extend", "pcr": pcr, "sha256": sha256});
        for pcr in [0, 10, 11, 13, 16, 23, 24, 255] {
            assert_eq!(code(&answers(&ask(1, &extend(pcr, zeros)))[0]).1, "refused", "{pcr}");
        }
        assert_eq!(code(&answers(&ask(1, &extend(12, "AAAA")))[0]).1, "refused");
        assert_eq!(code(&answers(&ask(1, &extend(12, zeros)))[0]).1, "no-device");
        for pcrs in [json!([]), json!([24]), json!([1, 1])] {
            assert_eq!(code(&answers(&ask(1, &json!({"kind": "read", "pcrs": pcrs})))[0]).1, "refused");
        }
        let long = json!({"kind": "quote", "pcrs": [0], "nonce": "A".repeat(44)});
        assert_eq!(code(&answers(&ask(1, &long))[0]).1, "refused");
        assert_eq!(code(&answers(&ask(1, &json!({"kind": "sign", "sha256": "AA=="})))[0]).1, "refused");
    }
}
