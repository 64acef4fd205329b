// Reads and writes through the ClickHouse HTTP endpoint with the official Go client.
//
// usage: main READ_PORT WRITE_PORT COMPRESSION (none, lz4, zstd, gzip, deflate)
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

func connect(port, compression string) driver.Conn {
	methods := map[string]clickhouse.CompressionMethod{
		"none": clickhouse.CompressionNone, "lz4": clickhouse.CompressionLZ4, "zstd": clickhouse.CompressionZSTD,
		"gzip": clickhouse.CompressionGZIP, "deflate": clickhouse.CompressionDeflate,
	}
	conn, err := clickhouse.Open(&clickhouse.Options{
		Addr:        []string{"127.0.0.1:" + port},
		Protocol:    clickhouse.HTTP,
		Auth:        clickhouse.Auth{Database: "default", Username: "default"},
		Compression: &clickhouse.Compression{Method: methods[compression]},
		Settings:    clickhouse.Settings{"max_execution_time": 30},
	})
	check(err)
	return conn
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	read, write := connect(os.Args[1], os.Args[3]), connect(os.Args[2], os.Args[3])
	ctx := context.Background()
	check(read.Ping(ctx))
	version, err := read.ServerVersion()
	check(err)

	var (
		u  uint64
		s  string
		ts time.Time
		m  map[string]string
		a  []float64
		l  string
		x  *int32
	)
	rows, err := read.Query(ctx, "SELECT n, s, ts, m, a, l, x FROM t WHERE n < ? ORDER BY n", 3)
	check(err)
	for rows.Next() {
		check(rows.Scan(&u, &s, &ts, &m, &a, &l, &x))
	}
	check(rows.Err())
	fmt.Println(version.Revision, u, s, ts.UTC().Format(time.RFC3339), m, a, l, x == nil)

	empty, err := read.Query(ctx, "SELECT n, s FROM t WHERE n > {min:UInt64}", clickhouse.Named("min", "100000"))
	check(err)
	fmt.Println(empty.Columns(), empty.Next())
	check(empty.Err())

	var count uint64
	check(read.QueryRow(ctx, "SELECT sum(number) FROM (SELECT number FROM numbers(300000))").Scan(&count))
	many, err := read.Query(ctx, "SELECT number, toString(number) FROM numbers(300000)")
	check(err)
	var total, got uint64
	for many.Next() {
		check(many.Scan(&got, &s))
		total += got
	}
	check(many.Err())
	fmt.Println(count == total)

	err = read.QueryRow(ctx, "SELECT nope").Scan(&u)
	fmt.Println(err != nil && strings.Contains(err.Error(), "Unknown expression identifier"))
	err = read.QueryRow(ctx, "SELECT * FROM file('/etc/passwd')").Scan(&s)
	fmt.Println(err != nil && strings.Contains(err.Error(), "not allowed"))
	failing, err := read.Query(ctx, "SELECT throwIf(number = 250000) FROM numbers(300000)")
	if err == nil {
		for failing.Next() {
		}
		err = failing.Err()
	}
	fmt.Println(err != nil)

	check(write.Exec(ctx, "CREATE TABLE IF NOT EXISTS go (n UInt64, s LowCardinality(String), a Array(String)) ENGINE = MergeTree ORDER BY n"))
	check(write.Exec(ctx, "TRUNCATE TABLE go"))
	batch, err := write.PrepareBatch(ctx, "INSERT INTO go (n, s, a)")
	check(err)
	for i := uint64(0); i < 10000; i++ {
		check(batch.Append(i, fmt.Sprint(i%7), []string{"a", fmt.Sprint(i)}))
	}
	check(batch.Send())
	check(read.QueryRow(ctx, "SELECT count() + uniqExact(s) + sum(length(a)) FROM go").Scan(&u))
	fmt.Println(u)
}
