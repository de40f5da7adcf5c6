// go-raft-lockstep runs members of etcd's own raft library and does what it is told, line by line.
//
// Each line on stdin is one input of one member; the answer is everything the member asks for because of it and how
// it stands afterwards, one thing a line, ended by a line with a dot. crates/core/consensus/tests/lockstep.rs gives the
// same inputs to our raft and compares.
//
// Storage writes are asynchronous: a group that holds something to write waits for `ack`, and what must not leave
// before it is durable waits with it; a group that holds nothing waits for the one before it, or not at all. Requests
// for votes are made to wait too, as ours do. There is no chance: the library's dice always show zero.
package main

import (
	"bufio"
	crand "crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"os"
	"sort"
	"strconv"
	"strings"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// zeros is a source of chance that has none.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// quiet is a logger that says nothing and stops at what must not happen.
type quiet struct{}

func (quiet) Debug(...any)            {}
func (quiet) Debugf(string, ...any)   {}
func (quiet) Info(...any)             {}
func (quiet) Infof(string, ...any)    {}
func (quiet) Warning(...any)          {}
func (quiet) Warningf(string, ...any) {}
func (quiet) Error(...any)            {}
func (quiet) Errorf(string, ...any)   {}
func (quiet) Fatal(v ...any)          { panic(fmt.Sprint(v...)) }
func (quiet) Fatalf(f string, v ...any) {
	panic(fmt.Sprintf(f, v...))
}
func (quiet) Panic(v ...any) { panic(fmt.Sprint(v...)) }
func (quiet) Panicf(f string, v ...any) {
	panic(fmt.Sprintf(f, v...))
}

// disk is what a member has durably, and the state it has applied.
type disk struct {
	hard    *pb.HardState
	start   [2]uint64 // index and term of the entry before the first
	entries []*pb.Entry
	conf    *pb.ConfState
	applied uint64
}

func (d *disk) InitialState() (*pb.HardState, *pb.ConfState, error) { return d.hard, d.conf, nil }
func (d *disk) FirstIndex() (uint64, error)                         { return d.start[0] + 1, nil }
func (d *disk) LastIndex() (uint64, error)                          { return d.start[0] + uint64(len(d.entries)), nil }

func (d *disk) Term(i uint64) (uint64, error) {
	last, _ := d.LastIndex()
	switch {
	case i < d.start[0]:
		return 0, raft.ErrCompacted
	case i == d.start[0]:
		return d.start[1], nil
	case i > last:
		return 0, raft.ErrUnavailable
	}
	return d.entries[i-d.start[0]-1].GetTerm(), nil
}

func (d *disk) Entries(lo, hi, maxSize uint64) ([]*pb.Entry, error) {
	last, _ := d.LastIndex()
	if lo <= d.start[0] {
		return nil, raft.ErrCompacted
	}
	if hi > last+1 {
		return nil, raft.ErrUnavailable
	}
	found := d.entries[lo-d.start[0]-1 : hi-d.start[0]-1]
	size := uint64(0)
	for i, entry := range found {
		size += uint64(proto.Size(entry))
		if i > 0 && size > maxSize {
			return found[:i:i], nil
		}
	}
	return found[:len(found):len(found)], nil
}

// A snapshot is made of what is applied at the moment it is asked for.
func (d *disk) Snapshot() (*pb.Snapshot, error) {
	term, err := d.Term(d.applied)
	if err != nil || d.applied == 0 {
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	meta := &pb.SnapshotMetadata{ConfState: d.conf, Index: proto.Uint64(d.applied), Term: proto.Uint64(term)}
	return &pb.Snapshot{Metadata: meta}, nil
}

func (d *disk) write(g *group) {
	if g.snapshot != nil {
		meta := g.snapshot.GetMetadata()
		d.start = [2]uint64{meta.GetIndex(), meta.GetTerm()}
		d.entries = nil
	}
	if g.hard != nil {
		d.hard = g.hard
	}
	if len(g.entries) > 0 {
		keep := g.entries[0].GetIndex() - d.start[0] - 1
		d.entries = append(d.entries[:keep:keep], g.entries...)
	}
}

func (d *disk) compact(to uint64) {
	if term, err := d.Term(to); err == nil && to > d.start[0] {
		d.entries = append([]*pb.Entry(nil), d.entries[to-d.start[0]:]...)
		d.start = [2]uint64{to, term}
	}
}

// group is what is to be written at once, and what waits for that.
type group struct {
	hard      *pb.HardState
	snapshot  *pb.Snapshot
	entries   []*pb.Entry
	responses []*pb.Message
}

type member struct {
	id      uint64
	node    *raft.RawNode
	disk    *disk
	config  raft.Config
	writing []*group
	apply   []*pb.Entry
	out     []string
}

func (m *member) start() {
	config := m.config
	config.Storage = m.disk
	config.Applied = m.disk.applied
	hard := proto.Clone(m.disk.hard).(*pb.HardState)
	last, _ := m.disk.LastIndex()
	hard.Commit = proto.Uint64(min(max(hard.GetCommit(), m.disk.applied), last))
	m.disk.hard = hard
	node, err := raft.NewRawNode(&config)
	if err != nil {
		panic(err)
	}
	m.node, m.writing, m.apply = node, nil, nil
}

// drain takes what the member asks for until it asks for nothing more.
func (m *member) drain() {
	var committed []*pb.Entry
	for m.node.HasReady() {
		ready := m.node.Ready()
		var votes []*pb.Message
		var write *pb.Message
		for _, message := range ready.Messages {
			switch {
			case message.GetTo() == raft.LocalAppendThread:
				write = message
			case message.GetTo() == raft.LocalApplyThread:
				committed = append(committed, message.GetEntries()...)
			case message.GetType() == pb.MsgVote || message.GetType() == pb.MsgPreVote:
				votes = append(votes, message)
			default:
				m.out = append(m.out, "m "+messageText(message))
			}
		}
		for _, read := range ready.ReadStates {
			m.out = append(m.out, fmt.Sprintf("r %x %d", read.RequestCtx, read.Index))
		}
		if write == nil {
			if votes != nil {
				panic("votes are asked for with nothing behind them")
			}
			continue
		}
		g := &group{entries: write.GetEntries(), snapshot: write.GetSnapshot(), responses: append(votes, write.GetResponses()...)}
		if write.Term != nil || write.Vote != nil || write.Commit != nil {
			g.hard = &pb.HardState{Term: write.Term, Vote: write.Vote, Commit: write.Commit}
		}
		switch {
		case g.hard != nil || g.snapshot != nil || len(g.entries) > 0:
			m.out = append(m.out, "p "+groupText(g))
			m.writing = append(m.writing, g)
		case len(m.writing) > 0:
			last := m.writing[len(m.writing)-1]
			last.responses = append(last.responses, g.responses...)
		default:
			m.release(g.responses)
		}
	}
	if len(committed) > 0 {
		m.out = append(m.out, "c "+entriesText(committed))
		m.apply = append(m.apply, committed...)
	}
}

// release lets go what waited: first what is for others, then what the member tells itself.
func (m *member) release(responses []*pb.Message) {
	for _, own := range []bool{false, true} {
		for _, response := range responses {
			if (response.GetTo() == m.id) != own {
				continue
			}
			if own {
				_ = m.node.Step(response)
			} else {
				m.out = append(m.out, "m "+messageText(response))
			}
		}
	}
}

func (m *member) ack() {
	g := m.writing[0]
	m.writing = m.writing[1:]
	m.disk.write(g)
	if g.snapshot != nil && m.disk.applied < g.snapshot.GetMetadata().GetIndex() {
		m.disk.applied = g.snapshot.GetMetadata().GetIndex()
		m.disk.conf = g.snapshot.GetMetadata().GetConfState()
		m.apply = nil
	}
	m.release(g.responses)
}

func (m *member) applyOne() {
	entry := m.apply[0]
	m.apply = m.apply[1:]
	if entry.GetType() == pb.EntryConfChange {
		change := &pb.ConfChange{}
		if err := proto.Unmarshal(entry.GetData(), change); err != nil {
			panic(err)
		}
		m.disk.conf = m.node.ApplyConfChange(change)
	}
	m.disk.applied = entry.GetIndex()
	_ = m.node.Step(&pb.Message{
		Type: pb.MsgStorageApplyResp.Enum(), To: proto.Uint64(m.id), From: proto.Uint64(raft.LocalApplyThread),
		Entries: []*pb.Entry{entry},
	})
}

func (m *member) stands() {
	status := m.node.Status()
	m.out = append(m.out, fmt.Sprintf("s %d %d %d %d", status.GetTerm(), status.Lead, status.RaftState, status.GetCommit()))
	ids := make([]uint64, 0, len(status.Progress))
	for id := range status.Progress {
		ids = append(ids, id)
	}
	sort.Slice(ids, func(i, j int) bool { return ids[i] < ids[j] })
	for _, id := range ids {
		p := status.Progress[id]
		m.out = append(m.out, fmt.Sprintf("g %d %d %d %d %t %t", id, p.Match, p.Next, p.State, p.RecentActive, p.IsLearner))
	}
}

func entryText(e *pb.Entry) string {
	return fmt.Sprintf("%d.%d.%d.%x", e.GetType(), e.GetTerm(), e.GetIndex(), e.GetData())
}

func entriesText(entries []*pb.Entry) string {
	texts := make([]string, len(entries))
	for i, entry := range entries {
		texts[i] = entryText(entry)
	}
	return strings.Join(texts, ",")
}

func snapshotText(s *pb.Snapshot) string {
	meta := s.GetMetadata()
	if meta.GetIndex() == 0 {
		return "-"
	}
	return fmt.Sprintf("%d.%d.%s.%s", meta.GetIndex(), meta.GetTerm(), list(meta.GetConfState().GetVoters()), list(meta.GetConfState().GetLearners()))
}

func list(ids []uint64) string {
	sorted := append([]uint64(nil), ids...)
	sort.Slice(sorted, func(i, j int) bool { return sorted[i] < sorted[j] })
	texts := make([]string, len(sorted))
	for i, id := range sorted {
		texts[i] = strconv.FormatUint(id, 10)
	}
	return strings.Join(texts, "+")
}

func messageText(m *pb.Message) string {
	return fmt.Sprintf("%d %d %d term=%d of=%d at=%d commit=%d reject=%t hint=%d context=%x snapshot=%s entries=%s",
		m.GetTo(), m.GetFrom(), m.GetType(), m.GetTerm(), m.GetLogTerm(), m.GetIndex(), m.GetCommit(), m.GetReject(),
		m.GetRejectHint(), m.GetContext(), snapshotText(m.GetSnapshot()), entriesText(m.GetEntries()))
}

func groupText(g *group) string {
	hard := "-"
	if g.hard != nil {
		hard = fmt.Sprintf("%d.%d.%d", g.hard.GetTerm(), g.hard.GetVote(), g.hard.GetCommit())
	}
	return fmt.Sprintf("hard=%s snapshot=%s entries=%s", hard, snapshotText(g.snapshot), entriesText(g.entries))
}

func number(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func numbers(text string) []uint64 {
	var ids []uint64
	for _, word := range strings.Split(text, "+") {
		if word != "" {
			ids = append(ids, number(word))
		}
	}
	return ids
}

// create makes a member: create ID VOTERS LEARNERS ELECTION PREVOTE INFLIGHT APPENDBYTES INFLIGHTBYTES UNCOMMITTED.
func create(words []string) *member {
	return &member{
		id:   number(words[0]),
		disk: &disk{hard: &pb.HardState{}, conf: &pb.ConfState{Voters: numbers(words[1]), Learners: numbers(words[2])}},
		config: raft.Config{
			ID: number(words[0]), ElectionTick: int(number(words[3])), HeartbeatTick: 1, AsyncStorageWrites: true,
			MaxSizePerMsg: number(words[6]), MaxCommittedSizePerReady: math.MaxUint64,
			MaxUncommittedEntriesSize: number(words[8]), MaxInflightMsgs: int(number(words[5])),
			MaxInflightBytes: number(words[7]), CheckQuorum: true, PreVote: words[4] == "true",
			StepDownOnRemoval: true, Logger: quiet{},
		},
	}
}

func (m *member) input(name string, words []string) {
	switch name {
	case "start":
		m.start()
	case "crash":
		m.node = nil
	case "tick":
		m.node.Tick()
	case "campaign":
		_ = m.node.Campaign()
	case "propose":
		var entries []*pb.Entry
		for _, word := range words {
			kind, data, _ := strings.Cut(word, ":")
			bytes, _ := hex.DecodeString(data)
			entry := &pb.Entry{Data: bytes}
			if kind == "1" {
				entry.Type = pb.EntryConfChange.Enum()
			}
			entries = append(entries, entry)
		}
		_ = m.node.Step(&pb.Message{Type: pb.MsgProp.Enum(), From: proto.Uint64(m.id), Entries: entries})
	case "read":
		context, _ := hex.DecodeString(words[0])
		m.node.ReadIndex(context)
	case "step":
		bytes, err := hex.DecodeString(words[0])
		message := &pb.Message{}
		if err == nil {
			err = proto.Unmarshal(bytes, message)
		}
		if err != nil {
			panic(err)
		}
		_ = m.node.Step(message)
	case "ack":
		m.ack()
	case "apply":
		m.applyOne()
	case "transfer":
		m.node.TransferLeader(number(words[0]))
	case "unreachable":
		m.node.ReportUnreachable(number(words[0]))
	case "snapshot-sent":
		status := raft.SnapshotFailure
		if words[1] == "true" {
			status = raft.SnapshotFinish
		}
		m.node.ReportSnapshot(number(words[0]), status)
	case "compact":
		m.disk.compact(number(words[0]))
	default:
		panic("no such input: " + name)
	}
}

func main() {
	crand.Reader = zeros{}
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	members := map[uint64]*member{}
	for {
		line, err := in.ReadString('\n')
		if err == io.EOF {
			return
		}
		words := strings.Fields(line)
		switch words[0] {
		case "clear":
			members = map[uint64]*member{}
		case "create":
			m := create(words[1:])
			members[m.id] = m
		default:
			m := members[number(words[1])]
			m.out = nil
			m.input(words[0], words[2:])
			if m.node != nil {
				m.drain()
				m.stands()
			}
			for _, text := range m.out {
				fmt.Fprintln(out, text)
			}
		}
		fmt.Fprintln(out, ".")
		out.Flush()
	}
}
