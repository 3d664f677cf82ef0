#!/usr/bin/perl
# answer PORT…: inside a container, answers on these ports, TCP and UDP, with the container's host name, the port and
# the caller's address. Perl, because every Debian image has one.
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use Sys::Hostname;

$SIG{TERM} = sub { exit 0 };
my $all = IO::Select->new;
my %udp;
for my $port (@ARGV) {
    my $tcp = IO::Socket::INET->new(LocalPort => $port, Proto => 'tcp', Listen => 16, ReuseAddr => 1) or die "$port: $!";
    my $udp = IO::Socket::INET->new(LocalPort => $port, Proto => 'udp') or die "$port/udp: $!";
    $udp{$udp} = 1;
    $all->add($tcp, $udp);
}
while (my @ready = $all->can_read) {
    for my $socket (@ready) {
        if ($udp{$socket}) {
            $socket->recv(my $hello, 512) // next;
            $socket->send(line($socket, $socket->peerhost));
        } elsif (my $client = $socket->accept) {
            print $client line($socket, $client->peerhost);
            close $client;
        }
    }
}
sub line { my ($socket, $peer) = @_; return hostname() . ' port ' . $socket->sockport . " you are $peer\n" }
