package tanada;

import io.delta.storage.HadoopFileSystemLogStore;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileAlreadyExistsException;
import java.util.Iterator;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FSDataOutputStreamBuilder;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;

/**
 * A log store for S3A under which any number of drivers, and delta-rs, may commit to one table.
 *
 * <p>An entry of the log is written by one PUT with {@code If-None-Match: *}, so that of two writers
 * of one version the second is refused by the store itself. Delta's own log store for S3 decides
 * that inside one driver: two drivers then lose commits silently. A file system without conditional
 * writes is refused, because here nothing else keeps two writers apart.
 */
public final class ConditionalPutLogStore extends HadoopFileSystemLogStore {
  private static final String CONDITIONAL = "fs.option.create.conditional.overwrite";

  public ConditionalPutLogStore(Configuration configuration) {
    super(configuration);
  }

  @Override
  public void write(
      Path path, Iterator<String> actions, Boolean overwrite, Configuration configuration)
      throws IOException {
    FileSystem store = path.getFileSystem(configuration);
    FSDataOutputStreamBuilder<?, ?> file = store.createFile(path).recursive().overwrite(true);
    if (!overwrite) {
      file = file.must(CONDITIONAL, true);
    }
    FSDataOutputStream stream = open(file, path);
    boolean whole = false;
    try {
      while (actions.hasNext()) {
        stream.write((actions.next() + "\n").getBytes(StandardCharsets.UTF_8));
      }
      whole = true;
    } finally {
      if (whole) {
        close(stream, path);
      } else {
        // Closing would upload what was written so far.
        stream.abort();
      }
    }
  }

  @Override
  public Boolean isPartialWriteVisible(Path path, Configuration configuration) {
    return false;
  }

  private static FSDataOutputStream open(FSDataOutputStreamBuilder<?, ?> file, Path path)
      throws IOException {
    try {
      return file.build();
    } catch (IllegalArgumentException unsupported) {
      throw new IOException("no conditional put, so no safe commit: " + path, unsupported);
    } catch (org.apache.hadoop.fs.FileAlreadyExistsException exists) {
      throw taken(path, exists);
    }
  }

  private static void close(FSDataOutputStream stream, Path path) throws IOException {
    try {
      stream.close();
    } catch (org.apache.hadoop.fs.FileAlreadyExistsException exists) {
      throw taken(path, exists);
    }
  }

  /** What Delta takes for "another writer has this version": the JDK's exception, not Hadoop's. */
  private static FileAlreadyExistsException taken(Path path, Exception cause) {
    FileAlreadyExistsException taken = new FileAlreadyExistsException(path.toString());
    taken.initCause(cause);
    return taken;
  }
}
