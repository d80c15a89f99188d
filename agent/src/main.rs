//! dev
mod decode;
mod probe;
fn main() {
    let t=std::time::Instant::now();
    let mut p = probe::Probe::start(&probe::Limits::default()).unwrap_or_else(|e| { let mut s: Option<&dyn std::error::Error>=Some(&e); while let Some(x)=s { eprintln!("{x}"); s=x.source(); } std::process::exit(125) });
    eprintln!("load {:?}", t.elapsed());
    let serial=p.next_serial().unwrap();
    p.set_session(0, agent_ebpf::Session{serial, epoch:0,state:1,parent:u32::MAX,reported:0,cgroup_id:0}).unwrap();
    let me=std::process::id();
    p.adopt(me, agent_ebpf::Member{serial,start_ns:0,slot:0,reserved:0}).unwrap();
    let mut c=std::process::Command::new("/bin/sh"); c.args(["-c", &std::env::args().nth(1).unwrap()]); c.status().unwrap();
    let mut s=p.session(0).unwrap(); s.state=3; p.set_session(0,s).unwrap();
    let t=std::time::Instant::now();
    p.grace_period().unwrap();
    eprintln!("grace {:?}", t.elapsed());
    let mut n=0;
    p.drain(|b| { n+=1; match decode::decode(b) { Ok(e)=> if n<200 {println!("{e:?}")}, Err(e)=>println!("ERR {e}") } });
    for r in p.accounts(0,0).unwrap() { println!("{r:?}"); }
    let t=std::time::Instant::now();
    let f=p.take_folded(serial,0).unwrap(); println!("{n} folded {} {:?}", f.len(), t.elapsed());
    for h in p.hooks() { println!("{} {:?}", h.observation, p.misses(h)); }
}
