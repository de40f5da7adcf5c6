//! From the command line to what is to be done.

mod common;
mod gateway;
mod grpc_proxy;

pub use gateway::GatewayOptions;
pub use grpc_proxy::{Advertised, GrpcProxyOptions, ListenTls};

use crate::flags::{Line, Values};

/// What a command line asks for.
#[derive(Debug)]
pub enum Asked {
    /// Print and end.
    Say {
        /// For standard output.
        stdout: String,
        /// For standard error.
        stderr: String,
        /// The exit code.
        code: u8,
    },
    /// Run a gateway.
    Gateway(GatewayOptions),
    /// Run a gRPC proxy.
    GrpcProxy(Box<GrpcProxyOptions>),
}

/// Reads a command line without the program's name; `None` if it is not about a proxy.
pub fn read(args: &[String]) -> Option<Asked> {
    let (first, rest) = args.split_first()?;
    let program = match first.as_str() {
        "gateway" => &gateway::PROGRAM,
        "grpc-proxy" => &grpc_proxy::PROGRAM,
        _ => return None,
    };
    let started = |values: Values| match program.name {
        "gateway" => gateway::options(&values).map(Asked::Gateway),
        _ => grpc_proxy::options(&values).map(|options| Asked::GrpcProxy(Box::new(options))),
    };
    Some(match program.read(rest) {
        Line::Help(stdout) => Asked::Say { stdout, stderr: String::new(), code: 0 },
        Line::Refused(stderr) => refused(stderr),
        Line::Start(values) => started(values).unwrap_or_else(|why| refused(why + "\n")),
    })
}

fn refused(stderr: String) -> Asked {
    Asked::Say { stdout: String::new(), stderr, code: 1 }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::gateway::RETRY_DELAY_USUAL;
    use super::*;

    fn asked(line: &str) -> Asked {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        read(&args).expect("it is about a proxy")
    }

    #[track_caller]
    fn complaint(line: &str) -> String {
        match asked(line) {
            Asked::Say { stderr, code: 1, .. } => stderr.lines().next().unwrap_or("").to_owned(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_default_is_one_that_can_be_typed() {
        let Asked::Gateway(options) = asked("gateway start") else { panic!("it starts") };
        assert_eq!(options.endpoints, ["127.0.0.1:2379"]);
        assert_eq!(options.retry_delay, Duration::from_secs(60));
    }

    #[test]
    fn lists_grow_and_zero_stands_for_five_minutes() {
        let line = "gateway --endpoints=a:1,b:2 start --endpoints c:3 --retry-delay=0 word";
        let Asked::Gateway(options) = asked(line) else { panic!("it starts") };
        assert_eq!(options.endpoints, ["a:1", "b:2", "c:3"]);
        assert_eq!(options.retry_delay, RETRY_DELAY_USUAL);
    }

    #[test]
    fn what_is_wrong_is_said_in_the_words_of_pflag() {
        assert_eq!(complaint("gateway start --nosuch"), "Error: unknown flag: --nosuch");
        assert_eq!(complaint("gateway --lisn"), "Error: unknown flag: --lisn");
        let missing = "Error: flag needs an argument: --listen-addr";
        assert_eq!(complaint("gateway start --listen-addr"), missing);
        let letter = "Error: unknown shorthand flag: 'x' in -x";
        assert_eq!(complaint("gateway start -x"), letter);
        let delay = "--retry-delay must not be below zero (is -1s)";
        assert_eq!(complaint("gateway start --retry-delay=-1s"), delay);
    }

    #[test]
    fn another_first_word_is_not_about_a_proxy() {
        assert!(read(&["--name=a".to_owned()]).is_none());
        assert!(read(&[]).is_none());
    }
}
