/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What two guests on one host would fight for. */

#include "command-case.h"

#include <string.h>

#include "qsnap/qsnap-error.h"

static gboolean
adapt (QsnapCommand *command,
       const QsnapAdaptContext *context,
       const CommandCase *test,
       GError **error)
{
  return qsnap_command_adapt_host (command, context, error);
}

static const CommandCase options[] = {
  { "stay",
    "-M q35 -cpu max -smp 2 -nodefaults -nographic -name a,debug-threads=on -kernel k -initrd i "
    "-append console=ttyS0 -bios b -fw_cfg name=opt/a,file=f -set device.d.x=y -global a.b=c "
    "-display gtk,gl=on -display none -object rng-random,id=r -device virtio-blk,drive=d -rtc "
    "base=utc -boot c -L /x -d int -trace enable=x,events=e -audiodev none,id=n -virtfs "
    "local,path=/x,mount_tag=t,security_model=none -sandbox on -no-reboot -accel qtest",
    NULL },
  { "removed",
    "-incoming tcp:0:5 -S -m 5 -loadvm x -daemonize -qtest unix:x -qtest-log y -preconfig "
    "-writeconfig w",
    "-m 5" },
  { "debugger", "-gdb tcp::1234 -m 5 -s", "-m 5", .warning = "-gdb" },
  { "own-monitor",
    "-chardev socket,id=qsnap-monitor,path=/old/qsnap.sock,server=on,wait=off -mon "
    "chardev=qsnap-monitor,mode=control -mon qsnap-monitor -mon chardev=other,mode=control",
    "-mon chardev=other,mode=control" },
  { "files", "-pidfile /run/p -D log -trace enable=a,file=t,events=e",
    "-pidfile /revert/qemu.pid -D /revert/qemu-debug.log -trace "
    "enable=a,file=/revert/trace.log,events=e" },
  { "audio", "-audiodev wav,id=w,path=x.wav -audiodev driver=wav,id=v -audiodev pa,id=p",
    "-audiodev wav,id=w,path=/revert/w.wav -audiodev driver=wav,id=v,path=/revert/v.wav -audiodev "
    "pa,id=p" },
  { "dump", "-object filter-dump,id=f,netdev=n,file=/x",
    "-object "
    "filter-dump,id=f,netdev=n,file=/revert/f.pcap" },
  { "generation",
    "-device vmgenid,guid=324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87,id=g -device "
    "{\"driver\":\"vmgenid\",\"guid\":\"x\"} -device vmgenid",
    "-device vmgenid,guid=auto,id=g -device {\"driver\":\"vmgenid\",\"guid\":\"auto\"} -device "
    "vmgenid" },
  { "readconfig", "-readconfig f", NULL, "-readconfig f: options in a file" },
  { "tpm", "-tpmdev emulator,id=t,chardev=c", NULL, "TPM" },
  { "tpm-passthrough", "-tpmdev passthrough,id=t", NULL, "TPM" },
  { "device-descriptor", "-device vhost-vsock-pci,vhostfd=5", NULL, "descriptor" },
  { "set", "-set chardev.c.path=/x", NULL, "adapted itself" },
  { "set-drive", "-set drive.d.file=/x", NULL, "adapted itself" },
  { "broken-device", "-device {]", NULL, "-device {]: " },
  { "broken-object", "-object {]", NULL, "-object {]: " },
  { "broken-mon", "-mon {]", NULL, "-mon {]: " },
  { "broken-chardev", "-chardev {]", NULL, "-chardev {]: " },
  { "broken-netdev", "-netdev {]", NULL, "-netdev {]: " },
  { "broken-trace", "-trace {]", NULL, "-trace {]: " },
  { "broken-audio", "-audiodev {]", NULL, "-audiodev {]: " },
  { "broken-spice", "-spice {]", NULL, "-spice {]: " },
};

static const CommandCase chardevs[] = {
  { "unix", "-chardev socket,id=c,path=/run/x,server=on,wait=on,logfile=l,logappend=on",
    "-chardev socket,id=c,logfile=/revert/c.logfile,logappend=on,path=/revert/c.sock,server=on,"
    "wait=off" },
  { "flags", "-chardev socket,path=/run/x,id=c,server,nowait",
    "-chardev socket,id=c,path=/revert/c.sock,server=on,wait=off" },
  { "abstract", "-chardev backend=socket,id=c,path=x,abstract=on,tight=off,server=yes,mux=on",
    "-chardev backend=socket,id=c,mux=on,path=/revert/c.sock,server=on,wait=off" },
  { "tcp",
    "-chardev socket,id=c,host=::,port=5,to=9,ipv4=on,ipv6=off,nodelay=on,server=on,wait=off",
    "-chardev socket,id=c,path=/revert/c.sock,server=on,wait=off",
    .warning = "c listens at /revert/c.sock, not on a port" },
  { "telnet", "-chardev socket,id=c,port=5,server=on,wait=off,telnet=on",
    "-chardev socket,id=c,path=/revert/c.sock,server=on,wait=off", .warning = "without telnet" },
  { "websocket", "-chardev socket,id=c,port=5,server=on,websocket=on",
    "-chardev socket,id=c,path=/revert/c.sock,server=on,wait=off", .warning = "without websocket" },
  { "tls", "-chardev socket,id=c,port=5,server=on,tls-creds=t,tls-authz=z",
    "-chardev socket,id=c,path=/revert/c.sock,server=on,wait=off", .warning = "without tls-creds" },
  { "client",
    "-chardev socket,id=c,path=/x,reconnect=5 -chardev socket,id=d,host=h,port=5,server=off",
    NULL },
  { "client-log", "-chardev socket,id=c,path=/x,logfile=/l",
    "-chardev socket,id=c,path=/x,logfile=/revert/c.logfile" },
  { "file", "-chardev file,id=c,path=/x,append=on,mux=on",
    "-chardev file,id=c,path=/revert/c.log,append=on,mux=on" },
  { "file-input", "-chardev file,id=c,path=/x,input-path=/y", NULL, "input" },
  { "stdio", "-chardev stdio,id=c,signal=off,mux=on -mon c",
    "-chardev file,id=c,mux=on,path=/revert/c.log -mon c", .warning = "/revert/c.log" },
  { "stay",
    "-chardev null,id=a -chardev pty,id=b -chardev ringbuf,id=c,size=1 -chardev vc,id=d -chardev "
    "spicevmc,id=e,name=vdagent -chardev spiceport,id=f,name=p -chardev msmouse,id=g -chardev "
    "hub,id=h,chardevs.0=a -chardev qemu-vdagent,id=i",
    NULL },
  { "pty-link", "-chardev pty,id=c,path=/x", "-chardev pty,id=c,path=/revert/c.pty" },
  { "collide",
    "-chardev socket,id=qsnap,path=/x,server=on -chardev file,id=qemu,path=/x -chardev "
    "socket,id=vnc,path=/y,server=on -vnc unix:/z -chardev socket,id=vnc-2,path=/w,server=on",
    "-chardev socket,id=qsnap,path=/revert/qsnap-2.sock,server=on,wait=off -chardev "
    "file,id=qemu,path=/revert/qemu-2.log -chardev "
    "socket,id=vnc,path=/revert/vnc.sock,server=on,wait=off -vnc unix:/revert/vnc-2.sock -chardev "
    "socket,id=vnc-2,path=/revert/vnc-2-2.sock,server=on,wait=off" },
  { "hostile-id", "-chardev file,id=../../etc/x,path=/x",
    "-chardev file,id=../../etc/x,path=/revert/.._.._etc_x.log" },
  { "no-id", "-chardev file,path=/x", "-chardev file,path=/revert/chardev.log" },
  { "passed", "-chardev socket,id=c,fd=3,server=on,wait=off",
    "-chardev socket,id=c,path=/revert/c.sock,server=on,wait=off" },
  { "passed-flags", "-chardev socket,fd=monitor,id=c,mux=on,server,nowait",
    "-chardev socket,id=c,mux=on,path=/revert/c.sock,server=on,wait=off" },
  { "descriptor", "-chardev socket,id=c,fd=3", NULL, "descriptor" },
  { "descriptor-client", "-chardev socket,id=c,fd=3,server=off", NULL, "descriptor" },
  { "pipe", "-chardev pipe,id=c,path=/x", NULL, "pipe is the original's" },
  { "serial", "-chardev serial,id=c,path=/dev/ttyS0", NULL, "serial is" },
  { "tty", "-chardev tty,id=c,path=/dev/ttyS0", NULL, "tty is" },
  { "parallel", "-chardev parallel,id=c,path=/dev/x", NULL, "parallel is" },
  { "parport", "-chardev parport,id=c,path=/dev/x", NULL, "parport is" },
  { "udp", "-chardev udp,id=c,port=5", NULL, "udp is" },
};

static const CommandCase legacy[] = {
  { "stay",
    "-serial null -serial none -serial pty -serial vc:80Cx24C -serial chardev:c -serial "
    "tcp:host:5 -serial unix:/x -serial telnet:h:5,server=off -monitor none -parallel none "
    "-debugcon chardev:d",
    NULL },
  { "file", "-serial none -serial file:/x -debugcon file:y,z -parallel file:p",
    "-serial none -serial file:/revert/serial1.log -debugcon file:/revert/debugcon0.log -parallel "
    "file:/revert/parallel0.log" },
  { "stdio", "-serial stdio", "-serial file:/revert/serial0.log", .warning = "-serial stdio" },
  { "mux-stdio", "-serial mon:stdio", "-serial file:/revert/serial0.log",
    .warning = "-serial mon:stdio" },
  { "unix",
    "-serial unix:/x,server,nowait -qmp unix:y,server=on,wait=off -qmp-pretty "
    "unix:z,server=on -monitor unix:w,server",
    "-serial unix:/revert/serial0.sock,server=on,wait=off -qmp "
    "unix:/revert/qmp0.sock,server=on,wait=off -qmp-pretty "
    "unix:/revert/qmp1.sock,server=on,wait=off -monitor "
    "unix:/revert/monitor0.sock,server=on,wait=off" },
  { "mux-unix", "-serial mon:unix:/x,server=on",
    "-serial mon:unix:/revert/serial0.sock,server=on,wait=off" },
  { "tcp", "-serial tcp::5,server,nowait", "-serial unix:/revert/serial0.sock,server=on,wait=off",
    .warning = "-serial tcp::5,server,nowait listens at /revert/serial0.sock" },
  { "telnet", "-monitor telnet:127.0.0.1:5,server,nowait",
    "-monitor unix:/revert/monitor0.sock,server=on,wait=off", .warning = "telnet" },
  { "websocket", "-serial websocket::5,server=on",
    "-serial unix:/revert/serial0.sock,server=on,wait=off", .warning = "websocket" },
  { "monitor-stdio", "-monitor stdio", "-monitor none", .warning = "-monitor stdio" },
  { "qmp-stdio", "-qmp stdio", "-monitor none", .warning = "-qmp stdio" },
  { "udp", "-serial udp:h:5", NULL, "-serial udp:h:5: it is the original's" },
  { "pipe", "-monitor pipe:/x", NULL, "original's" },
  { "device", "-serial /dev/ttyS0", NULL, "original's" },
  { "mux-device", "-serial mon:/dev/ttyS0", NULL, "original's" },
};

static const CommandCase displays[] = {
  { "vnc", "-vnc :1,password=on,to=9,websocket=5700,ipv4=on -m 5",
    "-vnc unix:/revert/vnc.sock,password=on -m 5", .warning = "VNC listens at /revert/vnc.sock" },
  { "vnc-unix", "-vnc unix:/x,share=ignore", "-vnc unix:/revert/vnc.sock,share=ignore" },
  { "vnc-two", "-vnc unix:/x,id=a -vnc unix:/y,id=b",
    "-vnc unix:/revert/vnc.sock,id=a -vnc unix:/revert/vnc-2.sock,id=b" },
  { "vnc-none", "-vnc none", NULL },
  { "vnc-reverse", "-vnc host:5500,reverse=on", NULL },
  { "display-vnc", "-display vnc=0.0.0.0:1,password", "-display vnc=unix:/revert/vnc.sock,password",
    .warning = "VNC" },
  { "curses", "-display curses,charset=CP437", "-display none", .warning = "terminal" },
  { "curses-option", "-curses -m 5", "-display none -m 5", .warning = "terminal" },
  { "spice",
    "-spice port=5900,tls-port=5901,addr=0.0.0.0,tls-channel=main,disable-ticketing=on,"
    "password=p",
    "-spice addr=/revert/spice.sock,disable-ticketing=on,password=p,unix=on",
    .warning = "SPICE listens" },
  { "spice-unix", "-spice unix,addr=/x,disable-ticketing",
    "-spice unix,addr=/revert/spice.sock,disable-ticketing" },
  { "spice-silent", "-spice disable-ticketing=on", NULL },
};

static const CommandCase networks[] = {
  { "stay",
    "-netdev user,id=a,guestfwd=tcp:10.0.2.100:1-cmd:cat,net=10.0.0.0/8 -netdev tap,id=b,script=no "
    "-netdev bridge,id=c,br=br0 -netdev socket,id=d,connect=h:1 -netdev "
    "socket,id=e,mcast=230.0.0.1:1 "
    "-netdev hubport,id=f,hubid=0 -netdev vde,id=g -netdev l2tpv3,id=h,src=a,dst=b -netdev "
    "stream,id=i,addr.type=unix,addr.path=/x -netdev dgram,id=j,remote.type=inet,remote.host=m "
    "-nic "
    "none -net none -net nic,model=virtio -nic user -nic tap -netdev stream,id=k,server=off",
    NULL },
  { "forward", "-netdev user,id=n,hostfwd=tcp::5-:22,net=10.0.0.0/8,hostfwd=udp::6-:53",
    "-netdev user,id=n,net=10.0.0.0/8", .warning = "hostfwd" },
  { "forward-nic", "-nic user,model=virtio,hostfwd=tcp::5-:22", "-nic user,model=virtio",
    .warning = "hostfwd" },
  { "forward-net", "-net nic -net user,hostfwd=tcp::5-:22", "-net nic -net user",
    .warning = "hostfwd" },
  { "forward-json",
    "-netdev {\"type\":\"user\",\"id\":\"n\",\"hostfwd\":[{\"str\":\"tcp::5-:22\"}]}",
    "-netdev {\"type\":\"user\",\"id\":\"n\"}", .warning = "hostfwd" },
  { "ifname", "-netdev tap,id=n,ifname=tap0", NULL, "interface is the original's" },
  { "tap-fd", "-netdev tap,id=n,fd=3", NULL,
    "-netdev tap,id=n,fd=3: a descriptor that QEMU was started with is gone (a tap that QEMU opens "
    "itself, without fd, vhostfd and ifname, can be brought back); give another" },
  { "tap-vhostfd", "-netdev tap,id=n,fd=3,vhost=on,vhostfd=5", NULL,
    "a tap that QEMU opens itself" },
  { "tap-fds", "-nic tap,fds=3:4", NULL, "a tap that QEMU opens itself" },
  { "tap-json",
    "-netdev {\"type\":\"tap\",\"fd\":\"30\",\"vhost\":true,\"vhostfd\":\"32\",\"id\":\"n\"}", NULL,
    "a tap that QEMU opens itself" },
  { "vdpa", "-netdev vhost-vdpa,id=n,vhostfd=5", NULL, "descriptor" },
  { "listen", "-netdev socket,id=n,listen=:5", NULL, "address is the original's" },
  { "socket-udp", "-netdev socket,id=n,udp=h:5,localaddr=:6", NULL, "address is" },
  { "socket-fd", "-net socket,fd=5", NULL, "descriptor" },
  { "stream", "-netdev stream,id=n,server=on,addr.type=inet", NULL, "address is" },
  { "stream-json", "-netdev {\"type\":\"stream\",\"server\":true,\"addr\":{\"type\":\"unix\"}}",
    NULL, "address is" },
  { "stream-fd", "-netdev stream,id=n,addr.type=fd,addr.str=5", NULL, "descriptor" },
  { "dgram", "-netdev dgram,id=n,local.type=unix,local.path=/x", NULL, "address is" },
  { "dgram-fd", "-netdev {\"type\":\"dgram\",\"local\":{\"type\":\"fd\",\"str\":\"5\"}}", NULL,
    "descriptor" },
};

static const CommandCase descriptors[] = {
  { "unused", "-m 5 -add-fd set=1,fd=3,opaque=serial0-log -add-fd fd=4,set=1 -S", "-m 5" },
  { "replaced",
    "-add-fd set=0,fd=16,opaque=serial0-source -chardev "
    "file,id=charserial0,path=/dev/fdset/0,append=on -add-fd set=1,fd=17 -chardev "
    "null,id=n,logfile=/dev/fdset/1",
    "-chardev file,id=charserial0,path=/revert/charserial0.log,append=on -chardev "
    "null,id=n,logfile=/revert/n.logfile" },
  { "of-another-set", "-add-fd set=1,fd=3 -kernel /dev/fdset/12 -bios x/dev/fdset/11",
    "-kernel /dev/fdset/12 -bios x/dev/fdset/11" },
  { "used", "-add-fd set=3,fd=9 -blockdev {\"driver\":\"file\",\"filename\":\"/dev/fdset/3\"}",
    NULL,
    "-blockdev {\"driver\":\"file\",\"filename\":\"/dev/fdset/3\"}: a descriptor that QEMU was "
    "started with is gone (-add-fd set=3,fd=9)" },
  { "used-before", "-initrd /dev/fdset/3 -add-fd set=3,fd=9", NULL, "-initrd /dev/fdset/3: " },
  { "used-among-others", "-drive file=/dev/fdset/31,driver=/dev/fdset/3 -add-fd set=3,fd=9", NULL,
    "-drive file=/dev/fdset/31" },
  { "no-set", "-add-fd fd=9", NULL, "-add-fd fd=9: it says no number of a set" },
  { "no-number", "-add-fd fd=9,set=x", NULL, "no number" },
  { "empty", "-add-fd fd=9,set=", NULL, "no number" },
  { "broken", "-add-fd {]", NULL, "-add-fd {]: " },
};

#define GONE "/nowhere/master-key.aes"

static const CommandCase secrets[] = {
  { "unused",
    "-object secret,id=s,file=" GONE " -m 5 -object "
    "{\"qom-type\":\"secret\",\"id\":\"masterKey0\",\"format\":\"raw\",\"file\":\"" GONE "\"}",
    "-m 5" },
  { "unused-that-uses",
    "-object secret,id=masterKey0,file=" GONE " -object "
    "{\"qom-type\":\"secret\",\"id\":\"t\",\"keyid\":\"masterKey0\",\"data\":\"x\"} -object "
    "secret,id=u,keyid=t,data=y",
    "" },
  { "own-name", "-object secret,id=d,file=" GONE " -device virtio-blk,id=d -blockdev node-name=d",
    "-device virtio-blk,id=d -blockdev node-name=d" },
  { "no-id", "-object secret,data=x", "" },
  { "used-data", "-object secret,id=s,data=x -vnc none,password-secret=s", NULL },
  { "used-file", "-object secret,id=s,file=/dev/null -iscsi password-secret=s", NULL },
  { "used-in-json",
    "-object {\"qom-type\":\"secret\",\"id\":\"s\",\"file\":\"/dev/null\"} -blockdev "
    "{\"driver\":\"qcow2\",\"encrypt\":{\"key-secret\":\"s\"},\"read-only\":true}",
    NULL },
  { "used-in-list",
    "-object secret,id=s,data=x -blockdev {\"a\":[1,null,{\"password-secret\":[\"s\"]}]}", NULL },
  { "used-by-used",
    "-object secret,id=k,file=/dev/null -object secret,id=s,keyid=k,data=x -object "
    "tls-creds-x509,id=t,passwordid=s",
    NULL },
  { "keyring", "-object secret_keyring,id=s,serial=1", NULL },
  { "gone", "-object secret,id=s,file=" GONE " -iscsi password-secret=s", NULL,
    "-object secret,id=s,file=" GONE
    ": another option uses this secret, and its file cannot be read "
    "(No such file or directory)" },
  { "gone-json",
    "-object {\"qom-type\":\"secret\",\"id\":\"k\",\"file\":\"" GONE "\"} -object "
    "{\"qom-type\":\"secret\",\"id\":\"s\",\"keyid\":\"k\",\"data\":\"x\"} -spice "
    "password-secret=s",
    NULL, "-object {\"qom-type\":\"secret\",\"id\":\"k\"," },
  { "relative", "-object secret,id=s,file=key -iscsi password-secret=s", NULL, "cannot be read" },
  { "descriptor",
    "-object secret,id=s,file=/dev/fdset/5 -add-fd set=5,fd=9 -iscsi password-secret=s", NULL,
    "-object secret,id=s,file=/dev/fdset/5: " },
};

/* libvirt 9's own, but for names and disks. */
static const CommandCase libvirt[] = {
  { "whole",
    "-name guest=g,debug-threads=on -S -object "
    "{\"qom-type\":\"secret\",\"id\":\"masterKey0\",\"format\":\"raw\",\"file\":\"" GONE "\"} "
    "-machine pc-q35-7.2,usb=off,dump-guest-core=off,memory-backend=pc.ram -accel tcg -cpu qemu64 "
    "-m 512 -object {\"qom-type\":\"memory-backend-ram\",\"id\":\"pc.ram\",\"size\":536870912} "
    "-overcommit mem-lock=off -smp 2,sockets=2,cores=1,threads=1 -uuid "
    "05d8b741-27b5-4bd3-941b-72d2ae00f3bc -display none -no-user-config -nodefaults -chardev "
    "socket,id=charmonitor,fd=18,server=on,wait=off -mon "
    "chardev=charmonitor,id=monitor,mode=control -rtc base=utc,driftfix=slew -no-shutdown -boot "
    "strict=on -device "
    "{\"driver\":\"pcie-root-port\",\"port\":8,\"chassis\":1,\"id\":\"pci.1\",\"bus\":\"pcie.0\","
    "\"multifunction\":true,\"addr\":\"0x1\"} -device "
    "{\"driver\":\"virtio-blk-pci\",\"drive\":\"libvirt-1-format\",\"id\":\"virtio-disk0\","
    "\"bootindex\":1,\"write-cache\":\"on\"} -add-fd set=0,fd=16,opaque=serial0-source -chardev "
    "file,id=charserial0,path=/dev/fdset/0,append=on -device "
    "{\"driver\":\"isa-serial\",\"chardev\":\"charserial0\",\"id\":\"serial0\",\"index\":0} "
    "-chardev "
    "socket,id=charchannel0,fd=17,server=on,wait=off -device "
    "{\"driver\":\"virtserialport\",\"chardev\":\"charchannel0\",\"id\":\"channel0\","
    "\"name\":\"org.qemu.guest_agent.0\"} -audiodev {\"id\":\"audio1\",\"driver\":\"none\"} -vnc "
    "127.0.0.1:0,audiodev=audio1 -sandbox "
    "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny -msg timestamp=on",
    "-name guest=g,debug-threads=on "
    "-machine pc-q35-7.2,usb=off,dump-guest-core=off,memory-backend=pc.ram -accel tcg -cpu qemu64 "
    "-m 512 -object {\"qom-type\":\"memory-backend-ram\",\"id\":\"pc.ram\",\"size\":536870912} "
    "-overcommit mem-lock=off -smp 2,sockets=2,cores=1,threads=1 -uuid "
    "05d8b741-27b5-4bd3-941b-72d2ae00f3bc -display none -no-user-config -nodefaults -chardev "
    "socket,id=charmonitor,path=/revert/charmonitor.sock,server=on,wait=off -mon "
    "chardev=charmonitor,id=monitor,mode=control -rtc base=utc,driftfix=slew -no-shutdown -boot "
    "strict=on -device "
    "{\"driver\":\"pcie-root-port\",\"port\":8,\"chassis\":1,\"id\":\"pci.1\",\"bus\":\"pcie.0\","
    "\"multifunction\":true,\"addr\":\"0x1\"} -device "
    "{\"driver\":\"virtio-blk-pci\",\"drive\":\"libvirt-1-format\",\"id\":\"virtio-disk0\","
    "\"bootindex\":1,\"write-cache\":\"on\"} -chardev "
    "file,id=charserial0,path=/revert/charserial0.log,append=on -device "
    "{\"driver\":\"isa-serial\",\"chardev\":\"charserial0\",\"id\":\"serial0\",\"index\":0} "
    "-chardev "
    "socket,id=charchannel0,path=/revert/charchannel0.sock,server=on,wait=off -device "
    "{\"driver\":\"virtserialport\",\"chardev\":\"charchannel0\",\"id\":\"channel0\","
    "\"name\":\"org.qemu.guest_agent.0\"} -audiodev {\"id\":\"audio1\",\"driver\":\"none\"} -vnc "
    "unix:/revert/vnc.sock,audiodev=audio1 -sandbox "
    "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny -msg timestamp=on",
    .warning = "VNC" },
};

/* --- the whole ----------------------------------------------------------------------------- */

/* What was adapted is adapted again, into another directory. */
static void
test_again (void)
{
  static const char *const before =
      "-M q35 -serial mon:stdio -chardev stdio,id=c -chardev socket,id=s,path=/x,server=on -vnc :1 "
      "-spice port=5 -qmp tcp::5,server=on -pidfile p -D d -nic user,hostfwd=tcp::1-:2 -chardev "
      "socket,id=qsnap-monitor,path=/revert/qsnap.sock,server=on,wait=off -mon "
      "chardev=qsnap-monitor,mode=control -S -incoming defer";
  g_autoptr (QsnapCommand) command = command_from_text (before);
  const QsnapAdaptContext first = { "/revert", "/guest", NULL };
  const QsnapAdaptContext second = { "/revert/2", "/guest", NULL };
  g_autoptr (QsnapCommand) again = NULL;
  g_autoptr (GError) error = NULL;
  g_autofree char *once = NULL;
  g_autofree char *twice = NULL;
  g_auto (GStrv) parts = NULL;
  g_autofree char *moved = NULL;

  qsnap_command_adapt_host (command, &first, &error);
  g_assert_no_error (error);
  once = command_to_text (command);
  g_assert_null (strstr (once, "qsnap-monitor"));

  again = command_from_text (once);
  qsnap_command_adapt_host (again, &second, &error);
  g_assert_no_error (error);
  twice = command_to_text (again);

  parts = g_strsplit (once, "/revert/", -1);
  moved = g_strjoinv ("/revert/2/", parts);
  g_assert_cmpstr (twice, ==, moved);
}

/* sun_path has 107 bytes and a NUL. */
static void
test_long_paths (void)
{
  static const char *const arguments[] = { "-chardev socket,id=s,path=/x,server=on",
                                           "-qmp unix:/x,server=on", "-vnc :1", "-spice port=5",
                                           "-display vnc=:1" };
  g_autofree char *long_name = g_strnfill (110, 'd');
  g_autofree char *directory = g_strconcat ("/", long_name, NULL);
  const QsnapAdaptContext context = { directory, "/guest", NULL };

  for (guint i = 0; i < G_N_ELEMENTS (arguments); i++)
    {
      g_autoptr (QsnapCommand) command = command_from_text (arguments[i]);
      g_autoptr (GError) error = NULL;

      g_assert_false (qsnap_command_adapt_host (command, &context, &error));
      g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED);
      g_assert_nonnull (strstr (error->message, directory));
      g_assert_nonnull (strstr (error->message, "too long"));
    }
}

static void
test_longest_path (void)
{
  g_autoptr (QsnapCommand) command = command_from_text ("-chardev socket,id=s,path=/x,server=on");
  g_autofree char *name = g_strnfill (107 - strlen ("//s.sock"), 'd');
  g_autofree char *directory = g_strconcat ("/", name, NULL);
  const QsnapAdaptContext context = { directory, "/guest", NULL };
  g_autoptr (GError) error = NULL;

  qsnap_command_adapt_host (command, &context, &error);
  g_assert_no_error (error);
}

/* A comma in the revert's directory. */
static void
test_commas (void)
{
  g_autoptr (QsnapCommand) command = command_from_text (
      "-chardev socket,id=s,path=/x,server=on -qmp unix:/x,server=on -serial file:y -vnc unix:/x "
      "-display vnc=:1 -spice unix=on -pidfile p");
  const QsnapAdaptContext context = { "/a,b", "/guest", NULL };
  g_autoptr (GError) error = NULL;
  g_autofree char *text = NULL;

  qsnap_command_adapt_host (command, &context, &error);
  g_assert_no_error (error);
  text = command_to_text (command);
  g_assert_cmpstr (text, ==,
                   "-chardev socket,id=s,path=/a,,b/s.sock,server=on,wait=off -qmp "
                   "unix:/a,,b/qmp0.sock,server=on,wait=off -serial file:/a,b/serial0.log -vnc "
                   "vnc=unix:/a,,b/vnc.sock -display vnc=vnc=unix:/a,,b/vnc-2.sock -spice "
                   "unix=on,addr=/a,,b/spice.sock -pidfile /a,b/qemu.pid");
}

int
main (int argc, char *argv[])
{
  g_test_init (&argc, &argv, NULL);

  command_cases_add ("/command/host/option", options, G_N_ELEMENTS (options), adapt);
  command_cases_add ("/command/host/chardev", chardevs, G_N_ELEMENTS (chardevs), adapt);
  command_cases_add ("/command/host/legacy", legacy, G_N_ELEMENTS (legacy), adapt);
  command_cases_add ("/command/host/display", displays, G_N_ELEMENTS (displays), adapt);
  command_cases_add ("/command/host/network", networks, G_N_ELEMENTS (networks), adapt);
  command_cases_add ("/command/host/descriptor", descriptors, G_N_ELEMENTS (descriptors), adapt);
  command_cases_add ("/command/host/secret", secrets, G_N_ELEMENTS (secrets), adapt);
  command_cases_add ("/command/host/libvirt", libvirt, G_N_ELEMENTS (libvirt), adapt);
  g_test_add_func ("/command/host/again", test_again);
  g_test_add_func ("/command/host/long-paths", test_long_paths);
  g_test_add_func ("/command/host/longest-path", test_longest_path);
  g_test_add_func ("/command/host/commas", test_commas);

  return g_test_run ();
}
