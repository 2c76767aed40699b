#!/usr/bin/env python3
"""Damaged inputs against the program, from outside: what no unit test thought of must still end in one line and code 2.

    tests/hostile/run.py BINARY [--sanitized] [--only GROUP,...] [--stride N] [--log FILE] [--root FOLDER]

Each case is a fresh copy of a base folder, one damage, and every command that reads what was damaged. Findings:

- another exit code than 0 or 2 (1 where the command may end so), or a sanitizer's report;
- exit code 2 with more or less than one line, or with something written;
- too much processor time or memory (more is allowed with --sanitized, for a binary of the preset `sanitize`).

--only takes groups by name, --stride every Nth case of them, --log writes what became of every command. The work is
done in a temporary folder, which is removed; with --root in that folder, which stays, and its base serves again.
The exit code is 1 when anything was found.
"""
import argparse
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

import base
import cases_adapters
import cases_gguf
import cases_models
import cases_names
import cases_packed
import cases_recipes
import cases_records
import cases_rows
import cases_templates
import cases_tokenizers
import damage as d
import suite

SUBJECTS = [cases_models, cases_tokenizers, cases_templates, cases_gguf, cases_adapters, cases_rows, cases_packed,
            cases_recipes, cases_records, cases_names]
SANITIZER = 77  # the exit code that sanitizers are asked for
MIB = 1024  # of the KiB that the system counts memory in
LONGEST = 900  # seconds on the clock: the command waits for something


class Program:
    """The program, run in root/w with nothing of the user's: store, cache and hub are in root."""

    def __init__(self, binary, root, sanitized):
        self.binary, self.root = binary, root
        self.seconds, self.mib = (40, 900) if sanitized else (10, 300)
        self.environment = dict(
            os.environ, GOMP_SPINCOUNT='1000', OMP_NUM_THREADS='2', ATTUNE_RUNS=root + '/runs.sqlite',
            XDG_CACHE_HOME=root + '/cache', HF_HOME=root + '/hf', HOME=root,
            ASAN_OPTIONS='quarantine_size_mb=8:allocator_may_return_null=0:detect_leaks=1:max_allocation_size_mb=2048:'
                         f'exitcode={SANITIZER}',
            UBSAN_OPTIONS=f'print_stacktrace=1:exitcode={SANITIZER}')

    def run(self, arguments, stdin=b''):
        """Returns exit code (negative: the signal), output, errors, processor seconds and MiB."""
        with open(self.root + '/out', 'wb') as out, open(self.root + '/err', 'wb') as err:
            process = subprocess.Popen([self.binary] + arguments, cwd=self.root + '/w', env=self.environment,
                                       stdin=subprocess.PIPE, stdout=out, stderr=err, start_new_session=True)
        try:
            process.stdin.write(stdin)
            process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            status, usage = self.wait(process.pid)
        except KeyboardInterrupt:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        process.returncode = 0  # it was waited for
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
        out, err = (d.read(self.root + name).decode('utf-8', 'replace') for name in ('/out', '/err'))
        return code, out, err, usage.ru_utime + usage.ru_stime, usage.ru_maxrss // MIB

    def wait(self, pid):
        begin = time.time()
        killed = False
        while True:
            ended, status, usage = os.wait4(pid, os.WNOHANG)
            if ended:
                return status, usage
            passed = time.time() - begin
            if passed > 5 and not killed and (processor_seconds(pid) > self.seconds * 2 or passed > LONGEST):
                os.killpg(pid, signal.SIGKILL)
                killed = True
            time.sleep(0.005)


def processor_seconds(pid):
    try:
        with open(f'/proc/{pid}/stat', encoding='utf-8') as file:
            fields = file.read().rsplit(')', 1)[1].split()
    except OSError:
        return 0
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def tree(top):
    """What would show that a file was written, replaced or removed."""
    seen = {}
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            path = os.path.join(folder, name)
            stat = os.lstat(path)
            contents = (0, 0) if os.path.isdir(path) else (stat.st_size, stat.st_mtime_ns)
            seen[os.path.relpath(path, top)] = (stat.st_mode, stat.st_ino, *contents)
    return seen


class Runner:
    def __init__(self, program, log):
        self.program, self.log = program, log
        self.base, self.work = program.root + '/base', program.root + '/w'
        self.counts = {'runs': 0, 'findings': 0, 'accepted': 0, 'refused': 0}

    def fresh(self, damage):
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.base, self.work, symlinks=True)
        os.chdir(self.work)
        damage()

    def case(self, group, name, damage, commands):
        self.fresh(damage)
        for arguments, stdin, may_be_1 in commands:
            before = tree(self.work)
            result = self.program.run(arguments, stdin)
            after = tree(self.work)
            written = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
            self.judge(f'{group}/{name}', arguments, result, written, may_be_1)
            if written:
                self.fresh(damage)
        self.log.flush()

    def judge(self, case, arguments, result, written, may_be_1):
        code, out, err, seconds, mib = result
        self.counts['runs'] += 1
        found = self.findings(code, err, seconds, mib, written, may_be_1)
        for kind in found:
            self.report(kind, case, arguments, result)
        if code == 0:
            self.counts['accepted'] += 1
            lines = err.strip().splitlines() or out.strip().splitlines() or ['']
            self.log.write(f"ACCEPTED {case} | {' '.join(arguments)[:110]} | {lines[-1][:160]!r}\n")
        elif not found:
            self.counts['refused'] += 1
            self.log.write(f"REFUSED {case} | {' '.join(arguments[:2])} | {err.strip()[:400]}\n")

    def findings(self, code, err, seconds, mib, written, may_be_1):
        found = []
        if 'Sanitizer' in err or 'runtime error:' in err or code in (SANITIZER, 23) or code < 0:
            found.append('sanitizer or crash')
        elif code not in (0, 2) and not (code == 1 and may_be_1):
            found.append('exit code')
        elif code == 2 and (err.count('\n') != 1 or len(err) > 9000):
            found.append('not one line')
        if code == 2 and written:
            found.append('written ' + ' '.join(written[:6]))
        if seconds > self.program.seconds:
            found.append('slow')
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // MIB  # a child begins with it
        if mib > max(self.program.mib, own + 30):
            found.append('memory')
        return found

    def report(self, kind, case, arguments, result):
        code, out, err, seconds, mib = result
        self.counts['findings'] += 1
        text = (f"FINDING {kind}\n  case {case}\n  attune {' '.join(arguments)}\n"
                f"  exit code {code}, {seconds:.1f} s, {mib} MiB\n"
                f"  err: {err[:1800]}\n  out: {out[:300] if code else ''}\n")
        self.log.write(text)
        self.log.flush()
        print(text, flush=True)


def prepare(program):
    """A root that has no base must be empty: nothing of the user's is overwritten."""
    if os.path.isdir(program.root + '/base'):
        return
    if os.listdir(program.root):
        sys.exit(f'{program.root}: neither empty nor a folder of earlier runs')
    base.make(program.root, program.run)


def all_cases(root):
    found = suite.Suite(root + '/base')
    for subject in SUBJECTS:
        subject.add(found)
    return found.cases


def run_all(program, options, log):
    prepare(program)
    cases = all_cases(program.root)
    groups = {case[0] for case in cases}
    only = set(filter(None, options.only.split(',')))
    if only - groups:
        sys.exit(f"no group {', '.join(sorted(only - groups))}; there are {', '.join(sorted(groups))}")
    chosen = [case for case in cases if not only or case[0] in only][::options.stride]
    print(len(cases), 'cases,', len(chosen), 'chosen', flush=True)
    runner, begin, broken = Runner(program, log), time.time(), 0
    for number, case in enumerate(chosen, 1):
        try:
            runner.case(*case)
        except Exception:  # a damage that fails is a fault of the case; the others still run
            broken += 1
            text = f'CASE FAILED {case[0]}/{case[1]}\n{traceback.format_exc()}'
            log.write(text)
            print(text, flush=True)
        if number % 50 == 0:
            print(f'{number} cases {runner.counts} {time.time() - begin:.0f} s', flush=True)
    print(f'END {runner.counts} {time.time() - begin:.0f} s', flush=True)
    log.write(f'END {runner.counts}\n')
    return 1 if runner.counts['findings'] or broken else 0


def interrupt(*_):
    """So that a run that is told to end kills its command and removes its folder."""
    raise KeyboardInterrupt


def main():
    signal.signal(signal.SIGTERM, interrupt)
    parser = argparse.ArgumentParser(description='Damaged inputs against the program.')
    parser.add_argument('binary', type=os.path.abspath)
    parser.add_argument('--sanitized', action='store_true')
    parser.add_argument('--only', default='')
    parser.add_argument('--stride', type=int, default=1)
    parser.add_argument('--log', default=os.devnull)
    parser.add_argument('--root', type=os.path.abspath)
    options = parser.parse_args()
    root = options.root or tempfile.mkdtemp(prefix='attune-hostile-')
    os.makedirs(root, exist_ok=True)
    try:
        with open(options.log, 'w', encoding='utf-8', errors='surrogateescape') as log:
            return run_all(Program(options.binary, root, options.sanitized), options, log)
    finally:
        if not options.root:
            os.chdir('/')
            shutil.rmtree(root)


if __name__ == '__main__':
    sys.exit(main())
