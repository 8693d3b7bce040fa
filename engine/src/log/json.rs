//! Lines of JSON: an object for each request.
//!
//! Invariants: each line is one object of RFC 8259 in UTF-8, with a member for each field that was asked for and is
//! there; numbers are integers.
//!
//! Not here: the other formats (`text`), and how strings are escaped (`escape`).

use super::escape;
use super::fields::LogFields;
use super::record::{LogRecord, ip, put};

/// What stands in a member.
enum Value<'a> {
    Text(&'a [u8]),
    Number(u64),
    Address(Option<std::net::IpAddr>),
    Time,
}

pub(super) fn object(fields: LogFields, record: &LogRecord<'_>, line: &mut Vec<u8>) {
    line.push(b'{');
    let begun = line.len();
    for column in fields.columns().filter(|column| !column.json.is_empty()) {
        let value = value_of(column.field, record);
        if matches!(value, Value::Text(&[]) | Value::Address(None)) {
            continue;
        }
        if line.len() > begun {
            line.push(b',');
        }
        put(line, format_args!("\"{}\":", column.json));
        match value {
            Value::Text(text) => escape::json(text, line),
            Value::Number(number) => {
                put(line, format_args!("{number}"));
            }
            Value::Address(address) => {
                put(line, format_args!("\"{}\"", address.map(|ip| ip.to_string()).unwrap_or_default()));
            }
            Value::Time => put_time(record, line),
        }
    }
    line.push(b'}');
}

/// As RFC 3339 has it.
fn put_time(record: &LogRecord<'_>, line: &mut Vec<u8>) {
    let at = &record.at;
    put(line, format_args!("\"{:04}-{:02}-{:02}T", at.year, at.month, at.day));
    put(line, format_args!("{:02}:{:02}:{:02}.{:03}Z\"", at.hour, at.minute, at.second, at.milli));
}

fn value_of<'a>(field: LogFields, record: &LogRecord<'a>) -> Value<'a> {
    let (noted, request) = (&record.noted, &record.request);
    let (stem, query) = request.stem_and_query();
    match field {
        LogFields::TIME => Value::Time,
        LogFields::SITE_NAME => Value::Text(record.site_name.as_bytes()),
        LogFields::COMPUTER_NAME => Value::Text(record.computer_name.as_bytes()),
        LogFields::SERVER_IP => Value::Address(ip(noted.local)),
        LogFields::CLIENT_IP => Value::Address(ip(noted.peer)),
        LogFields::METHOD => Value::Text(request.method),
        LogFields::URI_STEM => Value::Text(stem),
        LogFields::URI_QUERY => Value::Text(query),
        LogFields::USER_NAME => Value::Text(noted.user),
        LogFields::VERSION => Value::Text(request.version),
        LogFields::USER_AGENT => Value::Text(request.user_agent),
        LogFields::COOKIE => Value::Text(request.cookie),
        LogFields::REFERER => Value::Text(request.referer),
        LogFields::HOST => Value::Text(request.host),
        LogFields::SERVER_PORT => Value::Number(noted.local.port().into()),
        LogFields::CLIENT_PORT => Value::Number(noted.peer.port().into()),
        LogFields::STATUS => Value::Number(noted.note.status.into()),
        LogFields::SUBSTATUS => Value::Number(noted.substatus.into()),
        LogFields::WIN32_STATUS => Value::Number(noted.win32_status.into()),
        LogFields::BYTES_SENT => Value::Number(noted.note.bytes_out),
        LogFields::BYTES_RECEIVED => Value::Number(noted.note.bytes_in),
        _ => Value::Number(noted.note.took),
    }
}
