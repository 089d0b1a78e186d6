# Boots systemd as PID 1 of a machine in namespaces: its own processes, network, control groups and copies of the
# folders that are written to. All of it is forgotten when the first process ends. $1 is the program under test.
set -e

if [ "$2" != inside ]; then
	# A control group of its own in every hierarchy, so that nothing is made outside of it.
	hierarchies=/sys/fs/cgroup/*/
	[ -e /sys/fs/cgroup/cgroup.controllers ] && hierarchies=/sys/fs/cgroup/
	for hierarchy in $hierarchies; do
		group="${hierarchy}larder-test-$$"
		mkdir "$group"
		if [ -e "${hierarchy}cpuset.cpus" ] && [ -e "$group/cpuset.cpus" ]; then
			cat "${hierarchy}cpuset.cpus" > "$group/cpuset.cpus"
			cat "${hierarchy}cpuset.mems" > "$group/cpuset.mems"
		fi
		echo $$ > "$group/cgroup.procs"
	done
	exec unshare --pid --mount --net --cgroup --ipc --uts --fork --kill-child --mount-proc bash "$0" "$1" inside
fi

mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /run
for folder in /etc /var /home /usr/local; do
	mkdir -p "/run/over$folder/upper" "/run/over$folder/work"
	mount -t overlay overlay -o "lowerdir=$folder,upperdir=/run/over$folder/upper,workdir=/run/over$folder/work" "$folder"
done
ip link set lo up
install "$1" /usr/local/bin/larder

umount -R /sys/fs/cgroup
if [ -e /proc/self/cgroup ] && grep -q name=systemd /proc/self/cgroup; then
	mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
	mkdir /sys/fs/cgroup/systemd /sys/fs/cgroup/unified
	mount -t cgroup -o none,name=systemd,xattr cgroup /sys/fs/cgroup/systemd
	mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
else
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi

# Nothing of the real machine is started: these are all the units there are.
units=/etc/systemd/system
rm -rf $units
mkdir -p $units
for target in sysinit basic sockets multi-user network shutdown; do
	printf '[Unit]\nDefaultDependencies=no\n' > $units/$target.target
done
echo 'Wants=systemd-journald.service' >> $units/basic.target
cp /lib/systemd/system/systemd-journald.service /lib/systemd/system/systemd-journald*.socket $units
sed -i 's/^\(Requires\|After\|Wants\|Sockets\|Before\)=.*//' $units/systemd-journald.service

# A log on disk, for that alone is split by user: what is in memory only root may read.
rm -rf /var/log/journal
mkdir -p /var/log/journal

# Two users with a service manager each.
for user in 4273:ada 4274:bob; do
	uid=${user%:*} name=${user#*:}
	useradd --create-home --uid "$uid" "$name"
	cat > "$units/$name.service" <<-X
		[Service]
		Type=notify
		User=$name
		Delegate=yes
		Environment=XDG_RUNTIME_DIR=/run/user/$uid
		RuntimeDirectory=user/$uid
		RuntimeDirectoryMode=0700
		ExecStart=/lib/systemd/systemd --user
	X
done

# As systemd itself has it outside of containers: credentials are mounted by a child, for all to see.
mount --make-rshared /
export container=larder SYSTEMD_UNIT_PATH=$units
exec /lib/systemd/systemd --system --unit=basic.target --log-target=console
